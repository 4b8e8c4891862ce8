/** Shows a JSON value as a tree that can be folded. All of it is text: nothing of a run becomes markup. */
import { useState } from 'react';
import { bytes } from '../format.ts';
import { texts } from '../texts.ts';
import { Button, CopyButton } from './ui.tsx';

/** Entries of an object or a list that are shown at first, and characters of a text. */
const SHOWN_ENTRIES = 50;
const SHOWN_CHARACTERS = 500;
/** Levels that are open at first. */
const OPEN_LEVELS = 2;

/** A value with its name. `path` is the expression that reads it, such as `$.nodes.order`. */
export function JsonView({ value, path = '$', label }: { value: unknown; path?: string; label?: string }) {
  if (value === undefined || value === null) return <p className="hint">{texts.noValue}</p>;
  return (
    <div className="json" {...(label ? { role: 'group', 'aria-label': label } : {})}>
      <div className="json-tools">
        <CopyButton text={() => JSON.stringify(value, null, 2)} />
      </div>
      <Value value={value} path={path} level={0} />
    </div>
  );
}

function Value({ value, path, level }: { value: unknown; path: string; level: number }) {
  if (typeof value === 'string') return <Text text={value} />;
  if (typeof value !== 'object' || value === null)
    return <span className={`json-${value === null ? 'null' : typeof value}`}>{String(value)}</span>;
  return <Entries value={value} path={path} level={level} />;
}

function Text({ text }: { text: string }) {
  const [whole, setWhole] = useState(false);
  const isCut = !whole && text.length > SHOWN_CHARACTERS;
  return (
    <span className="json-string">
      {JSON.stringify(isCut ? text.slice(0, SHOWN_CHARACTERS) : text)}
      {isCut && (
        <Button kind="quiet" onClick={() => setWhole(true)}>
          {texts.showAll(bytes(new Blob([text]).size))}
        </Button>
      )}
    </span>
  );
}

function Entries({ value, path, level }: { value: object; path: string; level: number }) {
  const [shown, setShown] = useState(SHOWN_ENTRIES);
  const isList = Array.isArray(value);
  const entries: (readonly [string | number, unknown])[] = isList
    ? value.map((each, index) => [index, each] as const)
    : Object.entries(value);
  const [open, close] = isList ? ['[', ']'] : ['{', '}'];
  if (entries.length === 0) return <span>{open + close}</span>;
  return (
    <details open={level < OPEN_LEVELS}>
      <summary>
        <span className="json-count">{isList ? `[${entries.length}]` : `{${entries.length}}`}</span>
      </summary>
      <ul>
        {entries.slice(0, shown).map(([key, each]) => {
          const own = path + step(key);
          return (
            <li key={key}>
              <button
                type="button"
                className="json-key"
                title={`${texts.copyPath}: ${own}`}
                onClick={() => void navigator.clipboard.writeText(`{{ ${own} }}`)}
              >
                {String(key)}
              </button>
              <Value value={each} path={own} level={level + 1} />
            </li>
          );
        })}
      </ul>
      {entries.length > shown && (
        <Button kind="quiet" onClick={() => setShown(shown + SHOWN_ENTRIES * 4)}>
          {texts.loadMore}
        </Button>
      )}
    </details>
  );
}

/** Returns the step of a path expression that reads this key. */
function step(key: string | number): string {
  if (typeof key === 'number') return `[${key}]`;
  return /^[A-Za-z_]\w*$/.test(key) ? `.${key}` : `[${JSON.stringify(key)}]`;
}
