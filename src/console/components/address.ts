/** The filters and tabs of a page in its address, so that it can be bookmarked and sent. */
import { useLocation, useSearch } from 'wouter';

/** Returns the parameters of the address, and a function that changes some of them; `null` removes one. */
export function useAddress(): [URLSearchParams, (changes: Record<string, string | null>) => void] {
  const search = useSearch();
  const [path, navigate] = useLocation();
  const parameters = new URLSearchParams(search);
  const change = (changes: Record<string, string | null>) => {
    const next = new URLSearchParams(search);
    for (const [name, value] of Object.entries(changes)) {
      if (value === null || value === '') next.delete(name);
      else next.set(name, value);
    }
    const text = next.toString();
    navigate(text ? `${path}?${text}` : path, { replace: true });
  };
  return [parameters, change];
}
