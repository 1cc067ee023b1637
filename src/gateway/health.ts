/** `/healthz`: the process runs. `/readyz`: it can decide and record, and its upstreams can be reached. */

export interface ReadinessCheck {
  readonly name: string;
  /** Undefined: ready. Otherwise a stable word for what is missing; nothing about identities or keys. */
  check(): Promise<string | undefined>;
}

export const healthHandler = (checks: readonly ReadinessCheck[]) => async (path: string): Promise<Response | undefined> => {
  if (path === '/healthz') return json(200, { status: 'ok' });
  if (path !== '/readyz') return undefined;
  const results = await Promise.all(checks.map(async ({ name, check }) => [name, (await check().catch(() => 'failed')) ?? 'ok'] as const));
  const ready = results.every(([, state]) => state === 'ok');
  return json(ready ? 200 : 503, { status: ready ? 'ready' : 'notReady', checks: Object.fromEntries(results) });
};

const json = (status: number, body: unknown): Response =>
  new Response(JSON.stringify(body), { status, headers: { 'content-type': 'application/json', 'cache-control': 'no-store' } });
