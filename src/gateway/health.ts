/** `/healthz`: the process runs. `/readyz`: it can decide and record, and its upstreams can be reached. */

export interface ReadinessCheck {
  readonly name: string;
  /** Undefined: ready. Otherwise a stable word for what is missing; nothing about identities or keys. */
  check(): Promise<string | undefined>;
}

export const healthHandler = (checks: readonly ReadinessCheck[]): ((path: string) => Promise<Response | undefined>) => {
  const look = (): Promise<readonly (readonly [string, string])[]> =>
    Promise.all(checks.map(async ({ name, check }) => [name, (await check().catch(() => 'failed')) ?? 'ok'] as const));
  let looking: ReturnType<typeof look> | undefined;
  return async (path) => {
    if (path === '/healthz') return json(200, { status: 'ok' });
    if (path !== '/readyz') return undefined;
    // Anyone may ask, and asking dials the upstreams: those who ask meanwhile share one look.
    looking ??= look().finally(() => {
      looking = undefined;
    });
    const results = await looking;
    const ready = results.every(([, state]) => state === 'ok');
    return json(ready ? 200 : 503, { status: ready ? 'ready' : 'notReady', checks: Object.fromEntries(results) });
  };
};

const json = (status: number, body: unknown): Response =>
  new Response(JSON.stringify(body), { status, headers: { 'content-type': 'application/json', 'cache-control': 'no-store' } });
