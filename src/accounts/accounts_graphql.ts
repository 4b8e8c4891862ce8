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
        "Comes back in the payload."
        clientMutationId: String
        "Shown to other members, at most 200 characters."
        name: String!
        "The address that the code is mailed to, in any case of letters."
        email: String!
        "10 characters to 1,024 bytes."
        password: String!
      }
      type RegisterUserPayload {
        "Comes back in the payload."
        clientMutationId: String
        "Always true."
        accepted: Boolean!
      }

      input LoginInput {
        "Comes back in the payload."
        clientMutationId: String
        "The address of the account."
        email: String!
        "The password of the account."
        password: String!
      }
      type LoginPayload {
        "Comes back in the payload."
        clientMutationId: String
        "The session that has begun."
        session: StartedSession!
      }
      "A session that has just begun, with its secret."
      type StartedSession {
        "To be sent as \\"Authorization: Bearer <secret>\\". It is never shown again."
        secret: String!
        "When the session ends by itself."
        expiresAt: Datetime!
        "The user who logged in."
        userId: UUID!
        "The active organization: the one that was active last, else the one joined first; null without any."
        organizationId: UUID
      }

      input ResetPasswordInput {
        "Comes back in the payload."
        clientMutationId: String
        "From the mail."
        code: String!
        "The new password: 10 characters to 1,024 bytes."
        password: String!
      }
      type ResetPasswordPayload {
        "Comes back in the payload."
        clientMutationId: String
        "The user whose password it was."
        userId: UUID!
      }

      input ChangePasswordInput {
        "Comes back in the payload."
        clientMutationId: String
        "The password until now."
        currentPassword: String!
        "The new password: 10 characters to 1,024 bytes."
        password: String!
      }
      type ChangePasswordPayload {
        "Comes back in the payload."
        clientMutationId: String
        "How many other sessions have ended."
        revokedSessions: Int!
      }
    `,
    objects: {
      Mutation: {
        plans: {
          registerUser: mutation('accepted', (settings, input) => accounts.register(settings, input)),
          login: mutation('session', (settings, input) => accounts.login(settings, input)),
          resetPassword: mutation('userId', (settings, input) => accounts.resetPassword(settings, input)),
          changePassword: mutation('revokedSessions', (settings, input) => accounts.changePassword(settings, input)),
        },
      },
    },
  }));
}

/** Returns the plan of a mutation whose payload has the result in the given field. */
function mutation(field: string, operation: Operation) {
  return (_$root: Step, args: { getRaw(name: string): Step }) =>
    sideEffect([context(), args.getRaw('input')], async ([request, raw]) => {
      const { clientMutationId = null, ...input } = raw as Record<string, unknown>;
      const { pgSettings } = request as unknown as { pgSettings: RequestSettings };
      try {
        return { clientMutationId, [field]: await operation(pgSettings, input) };
      } catch (error) {
        throw error instanceof FlowgresError ? safe(error) : error;
      }
    });
}

function safe({ code, message, hint, details }: FlowgresError): SafeError {
  return new SafeError(message, { code, ...(hint ? { hint } : {}), ...(details ? { details } : {}) });
}
