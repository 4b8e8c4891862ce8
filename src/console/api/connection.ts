/** Whether the server answers, for the banner: changed by every request and by the WebSocket. */
import { useSyncExternalStore } from 'react';

let isOnline = true;
const listeners = new Set<() => void>();

/** Records whether the server was reached. */
export function setOnline(online: boolean): void {
  if (isOnline === online) return;
  isOnline = online;
  for (const listener of listeners) listener();
}

/** Calls `listener` with every change. Returns a function that stops it. */
export function onConnection(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

/** Rerenders with every change. */
export function useOnline(): boolean {
  return useSyncExternalStore(onConnection, () => isOnline);
}

// An open WebSocket does not notice for a while that the network is gone; the browser does.
addEventListener('offline', () => setOnline(false));
addEventListener('online', () => setOnline(true));
