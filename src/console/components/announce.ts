/** Says changes of status to screen readers, by the live region of the page. */

/** The id of the live region. */
export const LIVE_REGION = 'live-region';

/** Says a text once, when the reader is silent. */
export function announce(text: string): void {
  const region = document.getElementById(LIVE_REGION);
  if (region) region.textContent = text;
}
