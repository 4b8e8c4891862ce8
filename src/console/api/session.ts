/** The token of this tab. It stays in the tab's session storage: closing the tab signs out. */
import { useSyncExternalStore } from 'react';

const KEY = 'flowgres.token';
const listeners = new Set<() => void>();

/** Returns the token; null when nobody has signed in. */
export function currentToken(): string | null {
  return sessionStorage.getItem(KEY);
}

/** Keeps the token of a new session, or removes the one that is kept. */
export function setToken(token: string | null): void {
  if (token === null) sessionStorage.removeItem(KEY);
  else sessionStorage.setItem(KEY, token);
  for (const listener of listeners) listener();
}

/** Rerenders with every change of the token. */
export function useToken(): string | null {
  return useSyncExternalStore(subscribe, currentToken);
}

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

/**
 * Returns the values of the fragment, such as `#token=…`, and removes it from the address and the history at
 * once. A fragment is never sent to a server.
 */
export function readFragment(): URLSearchParams {
  const values = new URLSearchParams(location.hash.slice(1));
  if (location.hash) history.replaceState(history.state, '', location.pathname + location.search);
  return values;
}
