/** Signing in by password or token, making an account, and setting a new password: all by codes that are mailed. */
import { type ReactNode, useState } from 'react';
import { login, registerUser, requestPasswordReset, resetPassword, verifyEmail } from '../../api/generated.ts';
import { useChange } from '../../api/hooks.ts';
import { setToken } from '../../api/session.ts';
import { BrandMark } from '../../components/shell.tsx';
import { Button, ErrorNote, TextField } from '../../components/ui.tsx';
import { texts } from '../../texts.ts';

type Step = 'signIn' | 'token' | 'register' | 'verify' | 'forgot' | 'reset';
const t = texts.signIn;

/** What is asked in a step, and what is done with it. */
interface Form {
  title: string;
  submit: string;
  change: { error: Error | null; isPending: boolean } | null;
  send: () => void;
  body: ReactNode;
}

/** The page without a token. */
export function SignInPage() {
  const [step, setStep] = useState<Step>('signIn');
  const [notice, setNotice] = useState<string | null>(null);
  const [values, setValues] = useState({ name: '', email: '', password: '', code: '', token: '' });
  const go = (next: Step, text: string | null = null) => {
    setStep(next);
    setNotice(text);
    setValues((old) => ({ ...old, code: '', ...(next === 'signIn' ? {} : { password: '' }) }));
  };
  const field = (name: keyof typeof values) => ({
    name,
    value: values[name],
    required: true,
    onChange: ({ target }: { target: { value: string } }) => setValues((old) => ({ ...old, [name]: target.value })),
  });
  const signIn = useChange(login, { onSuccess: (data) => setToken(data.login!.session.secret) });
  const register = useChange(registerUser, { onSuccess: () => go('verify') });
  const verify = useChange(verifyEmail, { onSuccess: () => go('signIn', t.accountMade) });
  const forgot = useChange(requestPasswordReset, { onSuccess: () => go('reset') });
  const reset = useChange(resetPassword, { onSuccess: () => go('signIn', t.passwordSet) });
  const { name, email, password, code, token } = values;

  const email_ = <TextField label={t.email} type="email" autoComplete="username" {...field('email')} />;
  const code_ = <TextField label={t.code} autoComplete="one-time-code" {...field('code')} />;
  const newPassword = (label: string) => (
    <TextField label={label} type="password" autoComplete="new-password" minLength={10} hint={t.passwordHint} {...field('password')} />
  );
  const steps: Record<Step, Form> = {
    signIn: {
      title: t.title,
      submit: t.submit,
      change: signIn,
      send: () => signIn.mutate({ email, password }),
      body: (
        <>
          {email_}
          <TextField label={t.password} type="password" autoComplete="current-password" {...field('password')} />
        </>
      ),
    },
    token: {
      title: t.toToken,
      submit: t.submit,
      change: null,
      send: () => setToken(token.trim()),
      body: <TextField label={t.token} autoComplete="off" hint={t.tokenHint} {...field('token')} />,
    },
    register: {
      title: t.register,
      submit: t.registerSubmit,
      change: register,
      send: () => register.mutate({ name, email, password }),
      body: (
        <>
          <TextField label={t.name} autoComplete="name" {...field('name')} />
          {email_}
          {newPassword(t.password)}
        </>
      ),
    },
    verify: {
      title: t.verify,
      submit: t.verifySubmit,
      change: verify,
      send: () => verify.mutate({ code: code.trim() }),
      body: (
        <>
          <p>{t.verifyHint(email)}</p>
          {code_}
          <p className="hint">{t.mailHint}</p>
        </>
      ),
    },
    forgot: {
      title: t.reset,
      submit: t.resetSubmit,
      change: forgot,
      send: () => forgot.mutate({ email }),
      body: (
        <>
          <p>{t.resetHint}</p>
          {email_}
        </>
      ),
    },
    reset: {
      title: t.reset,
      submit: t.setPassword,
      change: reset,
      send: () => reset.mutate({ code: code.trim(), password }),
      body: (
        <>
          <p>{t.resetHint}</p>
          {code_}
          {newPassword(t.newPassword)}
          <p className="hint">{t.mailHint}</p>
        </>
      ),
    },
  };
  return <SignInForm step={step} go={go} notice={notice} {...steps[step]} />;
}

function SignInForm({
  step,
  go,
  notice,
  title,
  submit,
  change,
  send,
  body,
}: Form & { step: Step; go: (step: Step) => void; notice: string | null }) {
  return (
    <main className="sign-in">
      <form
        className="card"
        aria-labelledby="sign-in-title"
        onSubmit={(event) => {
          event.preventDefault();
          send();
        }}
      >
        <div className="brand">
          <BrandMark />
          <span>{texts.product}</span>
        </div>
        <h1 id="sign-in-title">{title}</h1>
        {notice && (
          <p className="note" role="status">
            {notice}
          </p>
        )}
        {body}
        <ErrorNote error={change?.error} onRetry={send} />
        <Button kind="primary" type="submit" busy={change?.isPending ?? false}>
          {submit}
        </Button>
        <div className="links">
          {step !== 'signIn' && <LinkButton text={t.toSignIn} onClick={() => go('signIn')} />}
          {step !== 'register' && <LinkButton text={t.toRegister} onClick={() => go('register')} />}
          {step !== 'forgot' && <LinkButton text={t.toReset} onClick={() => go('forgot')} />}
          {step !== 'token' && <LinkButton text={t.toToken} onClick={() => go('token')} />}
        </div>
      </form>
    </main>
  );
}

function LinkButton({ text, onClick }: { text: string; onClick: () => void }) {
  return (
    <button type="button" className="link" onClick={onClick}>
      {text}
    </button>
  );
}
