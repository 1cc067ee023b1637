/** One operation of the HTTP API: what it takes and gives, as schemas, who may call it, and what it does. */
import type { z } from 'zod';
import type { CertificateAuthority } from '../../ca/authority.ts';
import type { AuditEvent, Clock, KeyAlgorithm } from '../../ca/ports.ts';
import type { AdminTarget } from '../admin/decision.ts';
import type { AdminAction, AdminBinding } from '../admin/roles.ts';
import type { Principal } from '../identity/principal.ts';
import type { Policy } from '../policy/policy.ts';
import type { Store } from '../store/store.ts';

export interface ApiWorld {
  readonly authority: CertificateAuthority;
  readonly store: Store;
  readonly audit: {
    record(event: AuditEvent): Promise<void>;
    enqueue(event: AuditEvent): void;
    readonly available: boolean;
  };
  readonly admins: readonly AdminBinding[];
  /** Whether the inventory has this certificate: one of another CA that the gateway trusts is no admin here, whatever it says. */
  readonly isKnown: (principal: Principal) => Promise<boolean>;
  readonly clock: Clock;
  /** Where agents find the gateway, `https://…/mcp`, and the base URL of the enrollment port; known once the listeners are bound. */
  readonly places: () => { readonly gateway: string; readonly enrollment: string };
  /** As it is now, to tell what a new certificate may do. */
  readonly policy: () => Policy;
  /** Of keys that are made for an agent when nobody says otherwise. */
  readonly keyAlgorithm: KeyAlgorithm;
  /** `audit.vkey` */
  readonly verifierKey: string;
  /** Of Sallyport. */
  readonly version: string;
}

export interface ApiCall<Params, Query, Body> {
  readonly params: Params;
  readonly query: Query;
  readonly body: Body;
  readonly world: ApiWorld;
  readonly principal: Principal;
  /** Whether the principal may do this to a certificate, by the same rules that let the call through. */
  readonly permits: (target: AdminTarget) => boolean;
  readonly idempotencyKey: string | undefined;
}

export type Method = 'GET' | 'POST' | 'DELETE';

export interface OperationFacts {
  /** Stable; `operationId` of the description and `name` in the audit log. */
  readonly id: string;
  readonly method: Method;
  /** Below /api/v1, with `{name}` for parameters. */
  readonly path: `/${string}`;
  readonly tag: string;
  readonly summary: string;
  readonly description?: string;
  /** `anyRole`: whoever holds one at all. */
  readonly action: AdminAction | 'anyRole';
  /** Whether it changes something: then the entry in the audit log is on disk before it is done. */
  readonly changes: boolean;
  readonly status?: 200 | 201;
  /** Whether it takes an `Idempotency-Key`. */
  readonly idempotent?: true;
}

export interface OperationSchemas {
  readonly params?: z.ZodObject | undefined;
  readonly query?: z.ZodObject | undefined;
  readonly body?: z.ZodType | undefined;
  readonly answer: z.ZodType;
}

export interface RawInput {
  readonly params: unknown;
  readonly query: unknown;
  readonly body: unknown;
}

export type CallFacts = Pick<ApiCall<unknown, unknown, unknown>, 'world' | 'principal' | 'permits' | 'idempotencyKey'>;

/** What is left to do once the input was read and it is known what it is about. */
export interface PreparedCall {
  readonly targets: readonly AdminTarget[];
  run(): Promise<{ readonly body: unknown; readonly headers?: Readonly<Record<string, string>> }>;
}

export interface Operation extends OperationFacts {
  readonly schemas: OperationSchemas;
  /** @throws ZodError for input that the schemas refuse */
  prepare(input: RawInput, facts: CallFacts): Promise<PreparedCall>;
}

type Out<Schema> = Schema extends z.ZodType ? z.output<Schema> : undefined;

/** `prepare` finds out what the call is about, so that it can be decided before `run` does it. */
export const operation = <const Schemas extends OperationSchemas, Prepared = undefined>(
  facts: OperationFacts,
  schemas: Schemas,
  work: {
    prepare?: (call: ApiCall<Out<Schemas['params']>, Out<Schemas['query']>, Out<Schemas['body']>>) => Promise<{ readonly targets: readonly AdminTarget[]; readonly prepared: Prepared }>;
    run: (
      call: ApiCall<Out<Schemas['params']>, Out<Schemas['query']>, Out<Schemas['body']>>,
      prepared: Prepared,
    ) => Promise<{ readonly answer: z.input<Schemas['answer']>; readonly headers?: Readonly<Record<string, string>> }>;
  },
): Operation => ({
  ...facts,
  schemas,
  async prepare(input, callFacts) {
    const call = {
      ...callFacts,
      params: schemas.params?.parse(input.params) as Out<Schemas['params']>,
      query: schemas.query?.parse(input.query) as Out<Schemas['query']>,
      body: schemas.body?.parse(input.body) as Out<Schemas['body']>,
    };
    const { targets, prepared } = (await work.prepare?.(call)) ?? { targets: [], prepared: undefined as Prepared };
    return {
      targets,
      run: async () => {
        const { answer, headers } = await work.run(call, prepared);
        return { body: schemas.answer.parse(answer), ...(headers === undefined ? {} : { headers }) };
      },
    };
  },
});
