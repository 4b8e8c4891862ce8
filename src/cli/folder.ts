/** The data folder of `flowgres start`: used by one process at a time, readable by its owner only. */
import { randomBytes } from 'node:crypto';
import { chmod, mkdir, open, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { tryParseJson } from '../json/json.ts';
import { diskFull } from '../database/embedded.ts';
import { FlowgresError } from '../errors.ts';
import { startTime } from '../database/start_time.ts';

/** What the next start needs of this one. */
const stateSchema = z.object({
  /** Password of the embedded server's administrator. */
  password: z.string(),
  /** Port of the embedded server; used again as long as it is free. */
  databasePort: z.number().optional(),
  /** Token of the demo organization. */
  token: z.string().optional(),
});
/** The content of the state file. */
export type FolderState = z.infer<typeof stateSchema>;

/** An open data folder. */
export interface DataFolder {
  path: string;
  state: FolderState;
  /** Changes what the next start reads. */
  save(change: Partial<FolderState>): Promise<void>;
  /** Writes connection.json, whose presence tells other programs that the process is ready. */
  publish(connection: Record<string, unknown>): Promise<void>;
  /** Removes the files that mark the process as running. */
  release(): Promise<void>;
}

/** Opens the folder and creates it when it is missing. Throws when another process uses it. */
export async function openFolder(path: string): Promise<DataFolder> {
  await mkdir(path, { recursive: true, mode: 0o700 }).catch((error: unknown) => fail(path, error));
  await chmod(path, 0o700).catch((error: unknown) => fail(path, error));
  const lock = join(path, 'flowgres.pid');
  await acquireLock(lock, path);
  const connection = join(path, 'connection.json');
  await rm(connection, { force: true });
  const file = join(path, 'state.json');
  const state = await readState(file);
  const save = async (change: Partial<FolderState>) => {
    Object.assign(state, change);
    await writePrivately(file, state);
  };
  await save({}).catch((error: unknown) => fail(path, error));
  return {
    path,
    state,
    save,
    publish: (content) => writePrivately(connection, content),
    release: async () => {
      await rm(connection, { force: true });
      await rm(lock, { force: true });
    },
  };
}

async function readState(file: string): Promise<FolderState> {
  const text = await readFile(file, 'utf8').catch(() => undefined);
  if (text === undefined) return { password: randomBytes(24).toString('base64url') };
  const parsed = stateSchema.safeParse(tryParseJson(text));
  if (parsed.success) return parsed.data;
  throw new FlowgresError('DATA_FOLDER_DAMAGED', `${file} cannot be read.`, {
    hint: 'Restore it from a backup, or set FLOWGRES_DATA to another folder.',
  });
}

/**
 * Writes to a temporary file and renames it: a reader sees the whole file or none, and a full disk keeps the
 * old one.
 */
async function writePrivately(file: string, content: unknown): Promise<void> {
  const temporary = `${file}.new`;
  await writeFile(temporary, `${JSON.stringify(content, null, 2)}\n`, { mode: 0o600 });
  await rename(temporary, file);
}

async function acquireLock(file: string, folder: string): Promise<void> {
  const own = `${process.pid} ${await startTime(process.pid)}`;
  for (;;) {
    try {
      const handle = await open(file, 'wx', 0o600);
      await handle.writeFile(own);
      await handle.close();
      return;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') fail(folder, error);
    }
    const [pid, startedAt] = (await readFile(file, 'utf8').catch(() => '')).split(' ');
    if (Number(pid) !== process.pid && startedAt && (await startTime(Number(pid))) === startedAt) {
      throw new FlowgresError('ALREADY_RUNNING', `Flowgres already runs on ${folder} (process ${pid}).`, {
        hint: 'Stop it first, or set FLOWGRES_DATA to another folder.',
      });
    }
    await rm(file, { force: true });
  }
}

function fail(folder: string, error: unknown): never {
  const { code, message } = error as NodeJS.ErrnoException;
  if (code === 'ENOSPC') throw diskFull(folder, error);
  throw new FlowgresError('DATA_FOLDER', `${folder} cannot be used: ${message}`, {
    hint: 'Set FLOWGRES_DATA to a folder that this user may write to.',
    cause: error,
  });
}
