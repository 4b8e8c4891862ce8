import { expect, test } from 'vitest';
import { readConfig, rolePasswords } from '../../src/config.ts';
import { LOGIN_ROLES, derivePasswords } from '../../src/database/roles.ts';

const URL = 'postgres://db.internal:5432/flowgres';
const passwordsOf = (environment: Record<string, string>, url = URL) => rolePasswords(readConfig(environment), url);

test("a process that was given its own roles' passwords knows no others", () => {
  const passwords = passwordsOf({ FLOWGRES_API_PASSWORD: 'a password of the api', FLOWGRES_INTAKE_PASSWORD: 'one of the intake' });
  expect(passwords.of('flowgres_api')).toBe('a password of the api');
  expect(LOGIN_ROLES.filter((role) => passwords.has(role))).toEqual(['flowgres_api', 'flowgres_intake']);
  expect(() => passwords.of('flowgres_maintenance')).toThrow(
    expect.objectContaining({ code: 'SECRET_MISSING', hint: expect.stringContaining('FLOWGRES_MAINTENANCE_PASSWORD') }),
  );
});

test('what has no password of its own derives from the secret, and that from the password of the administrator', () => {
  const secret = 'a secret of the test';
  const given = passwordsOf({ FLOWGRES_SECRET: secret, FLOWGRES_API_PASSWORD: 'a password of the api' });
  expect([given.of('flowgres_api'), given.of('flowgres_worker')]).toEqual([
    'a password of the api',
    derivePasswords(secret).of('flowgres_worker'),
  ]);
  const administered = passwordsOf({}, 'postgres://postgres:secret@db.internal:5432/flowgres');
  const all = LOGIN_ROLES.map((role) => administered.of(role));
  expect(new Set(all).size).toBe(LOGIN_ROLES.length);
  expect(all).toEqual(LOGIN_ROLES.map((role) => administered.of(role)));
});

test('a password of less than 16 characters is refused, without repeating it', () => {
  expect(() => readConfig({ FLOWGRES_WORKER_PASSWORD: 'short' })).toThrow('FLOWGRES_WORKER_PASSWORD must have at least 16 characters.');
});
