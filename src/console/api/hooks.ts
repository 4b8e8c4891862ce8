/** Hooks that read, change and follow data through the API. */
import {
  QueryClient,
  type UseMutationResult,
  type UseQueryResult,
  keepPreviousData,
  useInfiniteQuery,
  useMutation,
  useQuery,
  useQueryClient,
} from '@tanstack/react-query';
import { useEffect, useEffectEvent, useState } from 'react';
import { ApiError, follow, request } from './client.ts';
import { onConnection } from './connection.ts';
import type { Operation } from './operation.ts';

/** Milliseconds that an answer counts as fresh, so that going back and forth does not ask again. */
const FRESH_MS = 5_000;
/** Attempts of a query while the server does not answer, a second apart at most. */
const ATTEMPTS = 20;

/** The client of all queries: repeats what the server did not answer, and nothing that it refused. */
export const queryClient = new QueryClient({
  defaultOptions: {
    queries: {
      staleTime: FRESH_MS,
      retry: (failures, error) => error instanceof ApiError && error.code === 'OFFLINE' && failures < ATTEMPTS,
      retryDelay: (failures) => Math.min(250 * 2 ** failures, 1_000),
      networkMode: 'always',
      queryKeyHashFn: (key) => {
        const [operation, variables] = key as unknown as OperationKey;
        return `${operation.id} ${JSON.stringify(variables)}`;
      },
    },
    mutations: { networkMode: 'always', retry: false },
  },
});
onConnection(() => void queryClient.invalidateQueries());

/** The key of a query: the operation and its variables, so that a page can show what it asks. */
export type OperationKey = readonly [Operation<unknown, unknown>, unknown];

/** Reads by a query. `null` as variables asks nothing yet. */
export function useRead<Data, Variables>(
  operation: Operation<Data, Variables>,
  variables: NoInfer<Variables> | null,
  options: { everyMs?: number; keepPrevious?: boolean } = {},
): UseQueryResult<Data, ApiError> {
  return useQuery<Data, ApiError>({
    queryKey: [operation, variables],
    queryFn: ({ signal }) => request(operation, variables as Variables, signal),
    enabled: variables !== null,
    ...(options.everyMs ? { refetchInterval: options.everyMs } : {}),
    ...(options.keepPrevious ? { placeholderData: keepPreviousData } : {}),
  });
}

/** A page of a list, by its cursor. */
export interface Page<Node> {
  nodes: Node[];
  pageInfo: { hasNextPage: boolean; endCursor: string | null };
}

/** Reads a list page by page, by its keyset cursor. `variables` have no `after`. */
export function useList<Data, Variables extends { after?: string | null | undefined }, Node>(
  operation: Operation<Data, Variables>,
  variables: NoInfer<Variables>,
  pageOf: (data: Data) => Page<Node> | null,
  everyMs?: number,
) {
  const query = useInfiniteQuery({
    queryKey: [operation, variables],
    queryFn: async ({ pageParam, signal }) => request(operation, { ...variables, after: pageParam }, signal),
    initialPageParam: null as string | null,
    getNextPageParam: (last) => {
      const info = pageOf(last)?.pageInfo;
      return info?.hasNextPage ? info.endCursor : undefined;
    },
    ...(everyMs ? { refetchInterval: everyMs } : {}),
  });
  const nodes = (query.data?.pages ?? []).flatMap((page) => pageOf(page)?.nodes ?? []);
  return { ...query, nodes };
}

/** An operation that was sent, for the panel that shows what a page asks. */
export interface SentChange {
  operation: Operation<unknown, unknown>;
  variables: unknown;
}

/** The subscriptions that the page follows now, by their operation. */
export const followed = new Map<string, SentChange>();

const KEPT_CHANGES = 10;
/** The latest changes of this tab, newest first. */
export const sentChanges: SentChange[] = [];

/** Changes by a mutation; afterwards every list and row that is shown is read again. */
export function useChange<Data, Variables>(
  operation: Operation<Data, Variables>,
  options: { onSuccess?: (data: Data) => void } = {},
): UseMutationResult<Data, ApiError, Variables> {
  const client = useQueryClient();
  return useMutation<Data, ApiError, Variables>({
    mutationFn: async (variables) => {
      sentChanges.unshift({ operation: operation as Operation<unknown, unknown>, variables });
      sentChanges.length = Math.min(sentChanges.length, KEPT_CHANGES);
      return request(operation, variables);
    },
    onSuccess: (data) => {
      void client.invalidateQueries();
      options.onSuccess?.(data);
    },
  });
}

/**
 * Follows a subscription while the component is shown, and again when `variables` change; `null` follows
 * nothing. Returns the error that ended it.
 */
export function useFollow<Data, Variables extends Record<string, unknown>>(
  operation: Operation<Data, Variables>,
  variables: NoInfer<Variables> | null,
  next: (data: Data) => Partial<NoInfer<Variables>>,
  receive: (data: Data) => void,
): ApiError | null {
  const [error, setError] = useState<ApiError | null>(null);
  const onAnswer = useEffectEvent(receive);
  const cursorOf = useEffectEvent(next);
  const key = variables === null ? null : JSON.stringify(variables);
  useEffect(() => {
    if (key === null) return undefined;
    const stop = new AbortController();
    followed.set(operation.id, { operation: operation as Operation<unknown, unknown>, variables: JSON.parse(key) });
    setError(null);
    follow(operation, JSON.parse(key) as Variables, {
      next: (data) => cursorOf(data) as Partial<Variables>,
      receive: (data) => onAnswer(data),
      signal: stop.signal,
    }).catch((cause: unknown) => {
      if (!stop.signal.aborted) setError(cause instanceof ApiError ? cause : new ApiError(String(cause), 'INTERNAL'));
    });
    return () => {
      stop.abort();
      followed.delete(operation.id);
    };
  }, [operation, key]);
  return error;
}
