/** Persisted operations: documents that the server knows in advance and that clients name by hash or name. */
import { createHash } from 'node:crypto';
import { readFile, readdir } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { parse } from 'postgraphile/graphql';
import { FlowgresError } from '../errors.ts';
import { requestError } from '../http/errors.ts';

/** The fields of a request that are used here. */
interface RequestBody {
  id: unknown;
  documentId: unknown;
  query: unknown;
  extensions: unknown;
}

/** The persisted operations of a server. */
export class Operations {
  /** Documents by the file's SHA-256 in hex, and by its name without `.graphql`. */
  readonly #documents: ReadonlyMap<string, string>;
  readonly #texts: ReadonlySet<string>;
  readonly #only: boolean;

  /**
   * @param documents the documents by hash and name
   * @param only whether other documents are refused
   */
  constructor(documents: ReadonlyMap<string, string> = new Map(), only = false) {
    this.#documents = documents;
    this.#texts = new Set(documents.values());
    this.#only = only;
  }

  /**
   * Reads the `*.graphql` files of a folder.
   *
   * @param known documents by hash that are persisted in addition
   */
  static async read(folder: string, only: boolean, known: ReadonlyMap<string, string> = new Map()): Promise<Operations> {
    const documents = new Map(known);
    for (const file of await list(folder)) {
      const text = await readFile(join(folder, file), 'utf8');
      try {
        parse(text, { noLocation: true });
      } catch (error) {
        throw new FlowgresError('INVALID_OPERATION', `${join(folder, file)} is no GraphQL document: ${(error as Error).message}`);
      }
      documents.set(createHash('sha256').update(text).digest('hex'), text);
      documents.set(basename(file, '.graphql'), text);
    }
    return new Operations(documents, only);
  }

  /** Whether a document is persisted, however the client sent it. */
  has(query: string): boolean {
    return this.#texts.has(query);
  }

  /**
   * Puts the named document into the request. Throws for an unknown name, and for a document that may not be
   * sent.
   */
  apply(body: RequestBody): void {
    const id = idOf(body);
    const document = id === undefined ? undefined : this.#documents.get(id.replace(/^sha256:/, ''));
    if (document !== undefined) {
      body.query = document;
      return;
    }
    if (this.#only) {
      throw requestError(403, 'FORBIDDEN', 'Only operations that the server knows are executed here.', {
        hint: 'Send the documentId of one of them.',
      });
    }
    if (id !== undefined && body.query == null) {
      throw requestError(404, 'NOT_FOUND', 'There is no such operation.', { hint: 'Send the document as "query".' });
    }
  }
}

/** Returns the id in the forms of the GraphQL-over-HTTP specification and of Apollo and Relay clients. */
function idOf({ documentId, id, extensions }: RequestBody): string | undefined {
  const persisted = (extensions as { persistedQuery?: { sha256Hash?: unknown } } | null | undefined)?.persistedQuery?.sha256Hash;
  const named = documentId ?? id ?? persisted;
  return typeof named === 'string' ? named : undefined;
}

async function list(folder: string): Promise<string[]> {
  try {
    return (await readdir(folder)).filter((file) => file.endsWith('.graphql')).sort();
  } catch (error) {
    throw new FlowgresError('INVALID_SETTING', `FLOWGRES_OPERATIONS: the folder ${folder} cannot be read.`, { cause: error });
  }
}
