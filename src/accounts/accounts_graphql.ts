/**
 * The GraphQL mutations that take a password. All other operations on accounts are SQL functions that
 * PostGraphile exposes.
 */
import { SafeError, type Step, context, sideEffect } from 'postgraphile/grafast';
import { extendSchema, gql } from 'postgraphile/utils';
import { FlowgresError } from '../errors.ts';
import type { Accounts } from './accounts.ts';
import type { RequestSettings } from '../database/request_statement.ts';

type Operation = (settings: RequestSettings, input: Record<string, unknown>) => Promise<unknown>;

/** Adds the mutations that take a password to the GraphQL schema. */
export function accountsPlugin(accounts: Accounts): GraphileConfig.Plugin {
  return extendSchema(() => ({
    typeDefs: gql`
      extend type Mutation {
        """
        Mails a code that makes the account: verifyEmail. The answer is the same for an address that has an account, whose
        owner is told so. Errors: VALIDATION_FAILED, RATE_LIMITED, TOO_BUSY.
        """
        registerUser(input: RegisterUserInput!): RegisterUserPayload
        """
        Begins a session of 30 days. Errors: UNAUTHENTICATED (the address or the password is wrong), RATE_LIMITED (too many
        attempts; details.retryAfterMs), TOO_BUSY.
        """
        login(input: LoginInput!): LoginPayload
        """
        Sets a new password by the code of requestPasswordReset and ends all sessions. Errors: NOT_FOUND, ALREADY_USED,
        EXPIRED, VALIDATION_FAILED, RATE_LIMITED, TOO_BUSY.
        """
        resetPassword(input: ResetPasswordInput!): ResetPasswordPayload
        """
        Sets a new password by the old one and logs out everywhere else. Errors: UNAUTHENTICATED, FORBIDDEN (the current
        password is wrong, or a token asks), RATE_LIMITED, VALIDATION_FAILED, TOO_BUSY.
        """
        changePassword(input: ChangePasswordInput!): ChangePasswordPayload
      }

      input RegisterUserInput {
        clientMutationId: String
        "Shown to other members, at most 200 characters."
        name: String!
        email: String!
        "10 characters to 1,024 bytes."
        password: String!
      }
      type RegisterUserPayload {
        clientMutationId: String
        "Always true."
        result: Boolean
      }

      input LoginInput {
        clientMutationId: String
        email: String!
        password: String!
      }
      type LoginPayload {
        clientMutationId: String
        result: StartedSession
      }
      "A session that has just begun, with its secret."
      type StartedSession {
        "To be sent as \\"Authorization: Bearer <secret>\\". It is never shown again."
        secret: String!
        "When the session ends by itself."
        expiresAt: Datetime!
        userId: UUID!
        "The active organization: the one that was active last, else the one joined first; null without any."
        organizationId: UUID
      }

      input ResetPasswordInput {
        clientMutationId: String
        "From the mail."
        code: String!
        "10 characters to 1,024 bytes."
        password: String!
      }
      type ResetPasswordPayload {
        clientMutationId: String
        "The user whose password it was."
        result: UUID
      }

      input ChangePasswordInput {
        clientMutationId: String
        currentPassword: String!
        "10 characters to 1,024 bytes."
        password: String!
      }
      type ChangePasswordPayload {
        clientMutationId: String
        "How many other sessions have ended."
        result: Int
      }
    `,
    objects: {
      Mutation: {
        plans: {
          registerUser: mutation((settings, input) => accounts.register(settings, input)),
          login: mutation((settings, input) => accounts.login(settings, input)),
          resetPassword: mutation((settings, input) => accounts.resetPassword(settings, input)),
          changePassword: mutation((settings, input) => accounts.changePassword(settings, input)),
        },
      },
    },
  }));
}

function mutation(operation: Operation) {
  return (_$root: Step, args: { getRaw(name: string): Step }) =>
    sideEffect([context(), args.getRaw('input')], async ([request, raw]) => {
      const { clientMutationId = null, ...input } = raw as Record<string, unknown>;
      const { pgSettings } = request as unknown as { pgSettings: RequestSettings };
      try {
        return { clientMutationId, result: await operation(pgSettings, input) };
      } catch (error) {
        throw error instanceof FlowgresError ? safe(error) : error;
      }
    });
}

function safe({ code, message, hint, details }: FlowgresError): SafeError {
  return new SafeError(message, { code, ...(hint ? { hint } : {}), ...(details ? { details } : {}) });
}
