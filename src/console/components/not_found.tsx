/** What a page shows instead of an object that it cannot read. */
import type { ApiError } from '../api/client.ts';
import { texts } from '../texts.ts';
import { Empty, ErrorNote } from './ui.tsx';

/** Says why the object could not be read, or that there is none. */
export function NotFound({ error }: { error: ApiError | Error | null }) {
  if (error) return <ErrorNote error={error} />;
  return (
    <Empty isPage title={texts.notFound}>
      {texts.notFoundHint}
    </Empty>
  );
}
