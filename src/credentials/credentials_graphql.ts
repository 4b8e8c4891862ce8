/** The GraphQL mutations that may take a secret. All other operations on credentials and variables are SQL functions. */
import type { PgResource } from 'postgraphile/@dataplan/pg';
import { SafeError, type Step, context, get, object, sideEffect } from 'postgraphile/grafast';
import { extendSchema, gql } from 'postgraphile/utils';
import type { RequestSettings } from '../database/request_statement.ts';
import { FlowgresError } from '../errors.ts';
import type { CredentialTests } from './test_credential.ts';
import type { Authorizations } from './authorizations.ts';
import { type CredentialCommands, type VariableArguments, parseId } from './credentials.ts';

type Operation<Result> = (settings: RequestSettings, input: Record<string, unknown>) => Promise<Result>;

/** Adds the mutations that take a secret to the GraphQL schema. */
export function credentialsPlugin(
  commands: CredentialCommands,
  authorizations: Authorizations,
  tests: CredentialTests,
): GraphileConfig.Plugin {
  return extendSchema((build) => {
    const credentials = build.input.pgRegistry.pgResources['credentials']!;
    const setVariable: PgResource = build.input.pgRegistry.pgResources['set_variable']!;
    const payload = {
      credential: ($payload: Step<{ id: string }>) => credentials.get({ id: get($payload, 'id') }),
    };
    return {
      typeDefs: gql`
        extend type Mutation {
          """
          Creates a credential: data is sealed and can never be read back. Only its creator may use it until it is shared.
          Scope: organization:write. Errors: UNAUTHENTICATED, FORBIDDEN, VALIDATION_FAILED, CONFLICT (the name is taken),
          LIMIT_REACHED, TOO_LARGE, VAULT_UNAVAILABLE.
          """
          createCredential(input: CreateCredentialInput!): CreateCredentialPayload
          """
          Changes a credential: what is not given stays, data replaces the whole secret. For its creator and admins. Scope:
          organization:write. Errors: UNAUTHENTICATED, FORBIDDEN, NOT_FOUND, VALIDATION_FAILED, CONFLICT (the name is taken,
          or a published workflow uses it, or somebody else has changed the secret), TOO_LARGE, VAULT_UNAVAILABLE.
          """
          updateCredential(input: UpdateCredentialInput!): UpdateCredentialPayload
          """
          Creates or replaces a variable, which expressions read as $.vars.<name>; runs that have started keep the old value.
          With isSecret its value is sealed and nobody can read it back: headers, query and body of httpRequest use it as
          $.secrets.<name>, only in requests to allowedHosts. Scope: workflows:write. Errors: UNAUTHENTICATED, FORBIDDEN,
          VALIDATION_FAILED (the name, the hosts, a secret that is no text or too short), TOO_LARGE, VAULT_UNAVAILABLE.
          """
          setVariable(input: SetVariableInput!): SetVariablePayload
          """
          Begins a login with a credential of type oauth2AuthorizationCode: gives the address at the provider at which somebody
          logs in, for 10 minutes. The provider sends the browser back here, and the tokens are sealed. Only the last login that
          was begun with a credential counts, once. For its creator and admins. Scope: organization:write. Errors:
          UNAUTHENTICATED, FORBIDDEN, NOT_FOUND, VALIDATION_FAILED (another type), VAULT_UNAVAILABLE, PUBLIC_URL_MISSING.
          """
          authorizeCredential(input: AuthorizeCredentialInput!): AuthorizeCredentialPayload
          """
          Sends one GET request with a credential to an address among its allowedHosts, and says what the answer means. For who
          may use the credential. Scope: organization:write. Errors: UNAUTHENTICATED, FORBIDDEN, NOT_FOUND, VALIDATION_FAILED,
          RATE_LIMITED, CREDENTIAL_HOST, CREDENTIAL_TYPE, CREDENTIAL_INCOMPLETE, SSRF_BLOCKED, INVALID_URL, HTTP_CONNECTION,
          TIMEOUT, OAUTH2_REFUSED, OAUTH2_UNAVAILABLE, VAULT_UNAVAILABLE.
          """
          testCredential(input: TestCredentialInput!): TestCredentialPayload
        }

        "What the answer of a peer says of a credential."
        enum CredentialOutcome {
          "The peer answered with it."
          accepted
          "The peer does not take it."
          refused
          "The status does not tell."
          unknown
        }
        input TestCredentialInput {
          "Comes back in the payload."
          clientMutationId: String
          "The credential, by its id."
          credentialId: UUID!
          "The address, which should need a login and change nothing, such as https://api.example.com/me."
          url: String!
        }
        type TestCredentialPayload {
          "Comes back in the payload."
          clientMutationId: String
          "The status of the answer."
          status: Int!
          "Whether the peer takes the credential."
          outcome: CredentialOutcome!
          "What the status means, and what to do."
          hint: String!
        }

        input AuthorizeCredentialInput {
          "Comes back in the payload."
          clientMutationId: String
          "The credential, by its id."
          credentialId: UUID!
        }
        type AuthorizeCredentialPayload {
          "Comes back in the payload."
          clientMutationId: String
          "The address at the provider, for the browser of who logs in."
          authorizationUrl: String!
          "Until when the provider has to send the browser back."
          expiresAt: Datetime!
        }

        input SetVariableInput {
          "Comes back in the payload."
          clientMutationId: String
          "Begins with a letter or underscore, then letters, digits and underscores; at most 64 characters."
          name: String!
          "Any JSON, at most 64 KiB; of a secret variable a text of 4 to 16,000 characters."
          value: JSON!
          "Whether the value is sealed, so that nobody can read it back; false by default."
          isSecret: Boolean
          "Where httpRequest may send a secret variable, such as api.example.com, *.example.com or api.example.com:8443; by default nowhere."
          allowedHosts: [String!]
        }
        type SetVariablePayload {
          "Comes back in the payload."
          clientMutationId: String
          "The variable, as it is after the mutation."
          variable: Variable!
        }

        input CreateCredentialInput {
          "Comes back in the payload."
          clientMutationId: String
          "By which nodes name it, unique in the organization; at most 200 characters."
          name: String!
          "One of credentialTypes."
          type: String!
          "What is sealed: an object that fits the schema of the type, at most 64 KiB."
          data: JSON!
          "Where httpRequest may send it, such as api.example.com, *.example.com or api.example.com:8443; by default nowhere."
          allowedHosts: [String!]
          "Whether all members may use it; false by default."
          isShared: Boolean
          "When it expires, if that is known: its creator gets a mail 7 days before."
          expiresAt: Datetime
        }
        type CreateCredentialPayload {
          "Comes back in the payload."
          clientMutationId: String
          "The credential, without its secret."
          credential: Credential!
        }

        input UpdateCredentialInput {
          "Comes back in the payload."
          clientMutationId: String
          "The credential, by its id."
          credentialId: UUID!
          "The new name."
          name: String
          "What is sealed in place of what was: the whole object."
          data: JSON
          "Where httpRequest may send it, in place of what was."
          allowedHosts: [String!]
          "When it expires."
          expiresAt: Datetime
        }
        type UpdateCredentialPayload {
          "Comes back in the payload."
          clientMutationId: String
          "The credential, without its secret."
          credential: Credential!
        }
      `,
      objects: {
        Mutation: {
          plans: {
            createCredential: mutation(async (settings, input) => ({ id: await commands.create(settings, input) })),
            updateCredential: mutation(async (settings, { credentialId, ...input }) => ({
              id: await commands.update(settings, { ...input, id: credentialId }),
            })),
            authorizeCredential: mutation((settings, { credentialId }) => authorizations.begin(settings, parseId(credentialId))),
            testCredential: mutation((settings, input) => tests.test(settings, input)),
            setVariable: (_$root: Step, args: Arguments) => {
              const $sealed = operationStep(args, (settings, input) => commands.sealVariable(settings, input));
              const given = setVariable.parameters!.map(({ name, codec }) => ({
                step: get($sealed, name as keyof VariableArguments),
                pgCodec: codec,
                name: name!,
              }));
              return object({ clientMutationId: get($sealed, 'clientMutationId'), variable: setVariable.execute(given, 'mutation') });
            },
          },
        },
        CreateCredentialPayload: { plans: payload },
        UpdateCredentialPayload: { plans: payload },
      },
    };
  });
}

interface Arguments {
  getRaw(name: string): Step;
}

function mutation(operation: Operation<object>) {
  return (_$root: Step, args: Arguments) => operationStep(args, operation);
}

/** A step with the result of the operation, and the client's id of the mutation. */
function operationStep<Result extends object>(args: Arguments, operation: Operation<Result>) {
  return sideEffect([context(), args.getRaw('input')], async ([request, raw]) => {
    const { clientMutationId = null, ...input } = raw as Record<string, unknown>;
    const { pgSettings } = request as unknown as { pgSettings: RequestSettings };
    try {
      return { clientMutationId, ...(await operation(pgSettings, input)) };
    } catch (error) {
      throw error instanceof FlowgresError ? safe(error) : error;
    }
  });
}

function safe({ code, message, hint, details }: FlowgresError): SafeError {
  return new SafeError(message, { code, ...(hint ? { hint } : {}), ...(details ? { details } : {}) });
}
