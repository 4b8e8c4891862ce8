/** Small parts that every page uses: buttons, fields, badges, times, notes, dialogs. */
import { useQueryClient } from '@tanstack/react-query';
import {
  Ban,
  Check,
  CircleCheck,
  CircleDashed,
  CircleX,
  Clock,
  Copy,
  Hourglass,
  LoaderCircle,
  type LucideIcon,
  PauseCircle,
  TriangleAlert,
  X,
} from 'lucide-react';
import { type ComponentProps, type ReactNode, useEffect, useId, useRef, useState } from 'react';
import { duration, shortTime, utcTime } from '../format.ts';
import type { ApiError } from '../api/client.ts';
import { texts } from '../texts.ts';
import { announce } from './announce.ts';

/** Milliseconds that a button says that it has copied. */
const COPIED_MS = 1_500;

/** A button; `kind` says how much it stands out. */
export function Button({
  kind = 'plain',
  icon: Icon,
  busy = false,
  children,
  ...props
}: ComponentProps<'button'> & { kind?: 'plain' | 'primary' | 'danger' | 'quiet'; icon?: LucideIcon | undefined; busy?: boolean }) {
  return (
    <button type="button" {...props} className={`button ${kind}`} disabled={busy || props.disabled} aria-busy={busy}>
      {busy ? <LoaderCircle className="spin" aria-hidden /> : Icon && <Icon aria-hidden />}
      {children && <span>{children}</span>}
    </button>
  );
}

/** A button with a picture alone, and a name for those who do not see it. */
export function IconButton({ icon: Icon, label, ...props }: ComponentProps<'button'> & { icon: LucideIcon; label: string }) {
  return (
    <button type="button" className="button quiet icon-button" aria-label={label} title={label} {...props}>
      <Icon aria-hidden />
    </button>
  );
}

/** A label with its field, a hint and a problem. `children` gets the id and the ids of what describes it. */
export function Field({
  label,
  hint,
  problem,
  children,
}: {
  label: string;
  hint?: ReactNode;
  problem?: string | undefined;
  children: (props: { id: string; 'aria-describedby'?: string; 'aria-invalid'?: boolean }) => ReactNode;
}) {
  const id = useId();
  const described = problem ?? hint;
  return (
    <div className="field">
      <label htmlFor={id}>{label}</label>
      {children({ id, ...(described ? { 'aria-describedby': `${id}-hint` } : {}), ...(problem ? { 'aria-invalid': true } : {}) })}
      {described && (
        <p id={`${id}-hint`} className={problem ? 'problem' : 'hint'}>
          {described}
        </p>
      )}
    </div>
  );
}

/** A field of one line. */
export function TextField({
  label,
  hint,
  problem,
  ...props
}: ComponentProps<'input'> & { label: string; hint?: ReactNode; problem?: string | undefined }) {
  return (
    <Field label={label} hint={hint} problem={problem}>
      {(ids) => <input {...ids} {...props} />}
    </Field>
  );
}

/** A field of several lines, for JSON. */
export function TextArea({
  label,
  hint,
  problem,
  ...props
}: ComponentProps<'textarea'> & { label: string; hint?: ReactNode; problem?: string | undefined }) {
  return (
    <Field label={label} hint={hint} problem={problem}>
      {(ids) => <textarea spellCheck={false} {...ids} {...props} />}
    </Field>
  );
}

/** A choice of one. */
export function Choice({
  label,
  options,
  ...props
}: ComponentProps<'select'> & { label: string; options: readonly (readonly [value: string, text: string])[] }) {
  return (
    <Field label={label}>
      {(ids) => (
        <select {...ids} {...props}>
          {options.map(([value, text]) => (
            <option key={value} value={value}>
              {text}
            </option>
          ))}
        </select>
      )}
    </Field>
  );
}

const STATUS_ICONS: Record<string, LucideIcon> = {
  success: CircleCheck,
  error: CircleX,
  canceled: Ban,
  running: LoaderCircle,
  waiting: Hourglass,
  paused: PauseCircle,
  queued: Clock,
  skipped: CircleDashed,
};

/** A status by color, picture and word. */
export function Status({ status, label = true }: { status: string; label?: boolean }) {
  const Icon = STATUS_ICONS[status] ?? CircleDashed;
  const text = texts.status[status] ?? status;
  return (
    <span className={`status ${status}`} {...(label ? {} : { role: 'img', 'aria-label': text, title: text })}>
      <Icon aria-hidden className={status === 'running' ? 'spin' : undefined} />
      {label && text}
    </span>
  );
}

/** A time in the zone of the browser, in UTC when pointed at. */
export function Time({ at }: { at: string }) {
  return (
    <time dateTime={at} title={texts.utc(utcTime(at))}>
      {shortTime(at)}
    </time>
  );
}

/** How long something took; counts up while it has no end. */
export function Duration({ from, to }: { from: string; to: string | null }) {
  const [now, setNow] = useState(Date.now);
  useEffect(() => {
    if (to !== null) return undefined;
    const timer = setInterval(() => setNow(Date.now()), 1_000);
    return () => clearInterval(timer);
  }, [to]);
  return <span className="number">{duration((to === null ? Math.max(now, Date.parse(from)) : Date.parse(to)) - Date.parse(from))}</span>;
}

/** Copies a text to the clipboard. */
export function CopyButton({ text, label = texts.copy, quiet = true }: { text: string | (() => string); label?: string; quiet?: boolean }) {
  const [copied, setCopied] = useState(false);
  useEffect(() => {
    if (!copied) return undefined;
    const timer = setTimeout(() => setCopied(false), COPIED_MS);
    return () => clearTimeout(timer);
  }, [copied]);
  const copy = async () => {
    await navigator.clipboard.writeText(typeof text === 'string' ? text : text());
    setCopied(true);
    announce(texts.copied);
  };
  if (quiet) return <IconButton icon={copied ? Check : Copy} label={copied ? texts.copied : label} onClick={() => void copy()} />;
  return (
    <Button icon={copied ? Check : Copy} onClick={() => void copy()}>
      {copied ? texts.copied : label}
    </Button>
  );
}

/** An error: what happened, what to do, and its code for a search. */
export function ErrorNote({ error, onRetry }: { error: ApiError | Error | null | undefined; onRetry?: () => void }) {
  const client = useQueryClient();
  if (!error) return null;
  const { code, hint } = error as Partial<ApiError>;
  return (
    <div className="note danger" role="alert">
      <TriangleAlert aria-hidden />
      <div>
        <p>{error.message}</p>
        {hint && <p className="hint">{hint}</p>}
        {code && <code>{code}</code>}
      </div>
      <Button onClick={onRetry ?? (() => void client.refetchQueries({ type: 'active' }))}>{texts.retryNow}</Button>
    </div>
  );
}

/** What stands where a list has no rows. */
export function Empty({ title, isPage = false, children }: { title: string; isPage?: boolean; children?: ReactNode }) {
  const Heading = isPage ? 'h1' : 'h2';
  return (
    <div className="empty">
      <Heading>{title}</Heading>
      {children}
    </div>
  );
}

/** Lines in place of what is being loaded, of its height, so that nothing moves when it comes. */
export function Skeleton({ lines = 6 }: { lines?: number }) {
  return (
    <div className="skeleton" role="status" aria-label={texts.loading}>
      {Array.from({ length: lines }, (_, index) => (
        <span key={index} />
      ))}
    </div>
  );
}

/** A modal dialog. The browser keeps the focus inside and closes it with Escape. */
export function Dialog({
  title,
  onClose,
  wide = false,
  children,
}: {
  title: string;
  onClose: () => void;
  wide?: boolean;
  children: ReactNode;
}) {
  const dialog = useRef<HTMLDialogElement>(null);
  const id = useId();
  useEffect(() => dialog.current?.showModal(), []);
  return (
    <dialog ref={dialog} className={wide ? 'wide' : undefined} aria-labelledby={id} onClose={onClose}>
      <header>
        <h2 id={id}>{title}</h2>
        <IconButton icon={X} label={texts.close} onClick={() => dialog.current?.close()} />
      </header>
      <div className="dialog-body">{children}</div>
    </dialog>
  );
}

/** A dialog with a form: `onSubmit` runs the change, the dialog shows its error and stays until it is done. */
export function FormDialog({
  title,
  submit,
  danger = false,
  busy,
  error,
  disabled = false,
  wide = false,
  onSubmit,
  onClose,
  children,
}: {
  title: string;
  submit: string;
  danger?: boolean;
  busy: boolean;
  error?: Error | null;
  disabled?: boolean;
  wide?: boolean;
  onSubmit: () => void;
  onClose: () => void;
  children: ReactNode;
}) {
  return (
    <Dialog title={title} onClose={onClose} wide={wide}>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          onSubmit();
        }}
      >
        {children}
        <ErrorNote error={error} onRetry={onSubmit} />
        <footer>
          <Button kind="quiet" onClick={onClose}>
            {texts.cancel}
          </Button>
          <Button kind={danger ? 'danger' : 'primary'} type="submit" busy={busy} disabled={disabled}>
            {submit}
          </Button>
        </footer>
      </form>
    </Dialog>
  );
}

/** Tabs whose chosen one is in the address. */
export function Tabs({
  label,
  tabs,
  chosen,
  onChoose,
}: {
  label: string;
  tabs: readonly (readonly [id: string, text: string])[];
  chosen: string;
  onChoose: (id: string) => void;
}) {
  return (
    <div role="tablist" aria-label={label} className="tabs">
      {tabs.map(([id, text], index) => (
        <button
          key={id}
          type="button"
          role="tab"
          id={`tab-${id}`}
          aria-selected={id === chosen}
          aria-controls="tab-panel"
          tabIndex={id === chosen ? 0 : -1}
          onClick={() => onChoose(id)}
          onKeyDown={(event) => {
            const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
            const to = step && tabs[(index + step + tabs.length) % tabs.length];
            if (!to) return;
            onChoose(to[0]);
            document.getElementById(`tab-${to[0]}`)?.focus();
          }}
        >
          {text}
        </button>
      ))}
    </div>
  );
}
