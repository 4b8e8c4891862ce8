/** Light and dark colors: those of the system, unless this browser was set to one. */

/** The choices. */
export type Theme = 'system' | 'light' | 'dark';

const KEY = 'flowgres.theme';

/** Returns the choice of this browser. */
export function chosenTheme(): Theme {
  const kept = localStorage.getItem(KEY);
  return kept === 'light' || kept === 'dark' ? kept : 'system';
}

/** Keeps a choice and shows it. */
export function chooseTheme(theme: Theme): void {
  localStorage.setItem(KEY, theme);
  applyTheme();
}

/** Shows the choice: `light-dark()` in the styles follows it. */
export function applyTheme(): void {
  const theme = chosenTheme();
  document.documentElement.style.colorScheme = theme === 'system' ? 'light dark' : theme;
}
