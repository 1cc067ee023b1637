/** The fixture behind a gateway: as each kind of upstream, and as servers of one era that are translated for clients of the other. */
import { fileURLToPath } from 'node:url';
import type { NodeMcpHandler } from '../../src/gateway/handler-leg.ts';
import { systemClock, systemRandomness } from '../../src/system.ts';
import { createHttpUpstream } from '../../src/upstream/http.ts';
import { createStdioUpstream } from '../../src/upstream/stdio.ts';
import { handlerUpstream, quietLog } from '../support/gateway-upstreams.ts';
import type { TestUpstream } from '../support/gateway-upstreams.ts';
import type { Excuse } from './compare.ts';
import { createFixtureHandler } from './fixture/handler.ts';
import { startFixtureHttp } from './fixture/http.ts';
import type { SuiteName } from './suites.ts';

export interface FixtureUpstream {
  /** Those that ask for something the MCP server has. */
  readonly suites: readonly SuiteName[];
  readonly excuses: readonly Excuse[];
  start(): Promise<TestUpstream>;
}

const unwatched = { kind: 'other', received: () => [], headers: () => [], sessions: () => [] } as const;

const overHttp = async (eras: 'legacy' | 'modern' | 'both'): Promise<TestUpstream> => {
  const server = await startFixtureHttp({ eras });
  return { ...unwatched, upstream: createHttpUpstream({ name: 'main', url: server.url, log: quietLog }), close: server.close };
};

const absent = (why: string, ...ids: readonly string[]): readonly Excuse[] => ids.map((id) => ({ id, through: 'absent', why }));

const streams = ['server-sse-streams-functional', 'server-sse-priming-event', 'server-sse-retry-field', 'server-sse-disconnect-resume'] as const;

export const fixtureUpstreams = {
  http: {
    suites: ['2025-11-25', '2026-07-28', '0.1.16'],
    excuses: [],
    start: () => overHttp('both'),
  },
  stdio: {
    suites: ['2025-11-25', '2026-07-28', '0.1.16'],
    excuses: absent('a server on stdio opens and closes no streams, and the gateway answers its calls in one piece', ...streams),
    start: async () => {
      const args = [fileURLToPath(new URL('fixture/stdio.ts', import.meta.url))];
      const upstream = createStdioUpstream({ clock: systemClock, randomness: systemRandomness, log: quietLog, name: 'main', command: process.execPath, args });
      return { ...unwatched, upstream, close: () => upstream.close() };
    },
  },
  'in-process': {
    suites: ['2025-11-25', '2026-07-28', '0.1.16'],
    excuses: [],
    start: async () => {
      const { handle, close } = createFixtureHandler();
      return { ...handlerUpstream(handle as NodeMcpHandler), close };
    },
  },
  'legacy-only': {
    suites: ['2026-07-28-core'],
    excuses: [
      { id: 'sep-2322-elicitation-incomplete', through: 'FAILURE', why: 'a legacy request for input has no name that the server chose' },
      ...absent('it follows on the check before', 'sep-2322-elicitation-complete'),
      { id: 'sep-2322-ignore-unexpected-params', through: 'WARNING', why: 'answers to questions that were not asked yet have no meaning in the legacy era' },
      { id: 'sep-2575-server-rejects-undeclared-capability', through: 'FAILURE', why: 'a legacy server says in the result of the tool what the client lacks' },
      { id: 'sep-2575-missing-capability-http-400', through: 'FAILURE', why: 'it follows on the check before' },
    ],
    start: () => overHttp('legacy'),
  },
  'modern-only': {
    suites: ['2025-11-25', '0.1.16'],
    excuses: absent('streams of the modern era cannot be closed and resumed, and a lone answer comes in one piece', ...streams),
    start: () => overHttp('modern'),
  },
} as const satisfies Record<string, FixtureUpstream>;

export type UpstreamName = keyof typeof fixtureUpstreams;

export const upstreamNames = Object.keys(fixtureUpstreams) as readonly UpstreamName[];
