/** The gateway in front of the light handler, telling what it uses and holds. */
import { systemClock, systemRandomness } from '../../src/system.ts';
import { createStdioUpstream } from '../../src/upstream/stdio.ts';
import { benchLog, startBenchGateway } from './bench-gateway.ts';
import type { BenchGatewayOptions, GatewaySecrets } from './bench-gateway.ts';
import { serveJob } from './child.ts';
import { echoOverStdio } from './echo-server.ts';
import { createLightHandler } from './light-handler.ts';

export interface LightServerJob extends GatewaySecrets {
  readonly policy: string;
  readonly evidence: BenchGatewayOptions['evidence'];
  /** Of the handler, which is the upstream `bench`. Default 0. */
  readonly tools?: number;
  /** Serves the echo server over stdio too, as the upstream `child`. Default `none`. */
  readonly child?: 'none' | 'echo';
  /** Default half an hour. */
  readonly sessionIdleMs?: number;
}

serveJob(async ({ tools = 0, child = 'none', ...job }: LightServerJob) => {
  const light = { name: 'bench', handler: createLightHandler({ tools }) };
  const stdio = () => createStdioUpstream({ name: 'child', ...echoOverStdio, clock: systemClock, randomness: systemRandomness, log: benchLog });
  return (await startBenchGateway({ ...job, upstreams: child === 'none' ? [light] : [light, stdio()] })).port;
});
