/** The GraphQL mutations that take a secret. All other operations on credentials are SQL functions. */
import { SafeError, type Step, context, get, sideEffect } from 'postgraphile/grafast';
import { extendSchema, gql } from 'postgraphile/utils';
import type { RequestSettings } from '../database/request_statement.ts';
import { FlowgresError } from '../errors.ts';
import type { CredentialCommands } from './credentials.ts';

type Operation = (settings: RequestSettings, input: Record<string, unknown>) => Promise<unknown>;

/** Adds the mutations that take a secret to the GraphQL schema. */
export function credentialsPlugin(commands: CredentialCommands): GraphileConfig.Plugin {
  return extendSchema((build) => {
    const credentials = build.input.pgRegistry.pgResources['credentials']!;
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
            createCredential: mutation((settings, input) => commands.create(settings, input)),
            updateCredential: mutation((settings, { credentialId, ...input }) => commands.update(settings, { ...input, id: credentialId })),
          },
        },
        CreateCredentialPayload: { plans: payload },
        UpdateCredentialPayload: { plans: payload },
      },
    };
  });
}

function mutation(operation: Operation) {
  return (_$root: Step, args: { getRaw(name: string): Step }) =>
    sideEffect([context(), args.getRaw('input')], async ([request, raw]) => {
      const { clientMutationId = null, ...input } = raw as Record<string, unknown>;
      const { pgSettings } = request as unknown as { pgSettings: RequestSettings };
      try {
        return { clientMutationId, id: await operation(pgSettings, input) };
      } catch (error) {
        throw error instanceof FlowgresError ? safe(error) : error;
      }
    });
}

function safe({ code, message, hint, details }: FlowgresError): SafeError {
  return new SafeError(message, { code, ...(hint ? { hint } : {}), ...(details ? { details } : {}) });
}
