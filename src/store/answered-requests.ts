/** Requests of the HTTP API that carried an idempotency key, so that one sent again is answered as before and not done again. */
import type { WriteQueue } from './write-queue.ts';

export interface RequestKey {
  readonly principal: string;
  readonly key: string;
}

export interface AnsweredRequest extends RequestKey {
  /** Lower-case hex SHA-256 of what was asked. */
  readonly digest: string;
  readonly at: Date;
  /** What was issued; undefined while nobody knows. */
  readonly certificate: { readonly issuerId: string; readonly serial: string } | undefined;
}

export interface AnsweredRequests {
  /** On disk before the request is carried out; answers with the earlier one when there is one. `instead` of an earlier one whose work was lost: only one of several gets it. */
  begin(request: RequestKey & { readonly digest: string; readonly at: Date }, options?: { readonly instead?: AnsweredRequest | undefined }): Promise<AnsweredRequest | undefined>;
  complete(key: RequestKey, certificate: { readonly issuerId: string; readonly serial: string }): Promise<void>;
  /** Refused: it may be asked again. */
  forget(key: RequestKey): Promise<void>;
}

export const createAnsweredRequests = (queue: WriteQueue): AnsweredRequests => ({
  begin: (request, { instead } = {}) =>
    queue.run(async ({ tx }) => {
      const row = await tx.selectFrom('api_request').selectAll().where('principal', '=', request.principal).where('request_key', '=', request.key).executeTakeFirst();
      const fresh = { principal: request.principal, request_key: request.key, digest: request.digest, at: request.at.getTime(), issuer_id: null, serial: null };
      if (row === undefined) {
        await tx.insertInto('api_request').values(fresh).execute();
        return undefined;
      }
      if (instead !== undefined && row.serial === null && row.at === instead.at.getTime()) {
        await tx.updateTable('api_request').set(fresh).where('principal', '=', request.principal).where('request_key', '=', request.key).execute();
        return undefined;
      }
      return {
        principal: row.principal,
        key: row.request_key,
        digest: row.digest,
        at: new Date(row.at),
        certificate: row.issuer_id === null || row.serial === null ? undefined : { issuerId: row.issuer_id, serial: row.serial },
      };
    }),
  complete: async ({ principal, key }, { issuerId, serial }) => {
    await queue.run(({ tx }) => tx.updateTable('api_request').set({ issuer_id: issuerId, serial }).where('principal', '=', principal).where('request_key', '=', key).execute());
  },
  forget: async ({ principal, key }) => {
    await queue.run(({ tx }) => tx.deleteFrom('api_request').where('principal', '=', principal).where('request_key', '=', key).where('serial', 'is', null).execute());
  },
});
