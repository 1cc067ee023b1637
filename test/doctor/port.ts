/** A data directory as `sallyport init` makes it, gateways that are sound, and gates that are not. */
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:https';
import type { Server, ServerOptions } from 'node:https';
import type { IncomingMessage } from 'node:http';
import type { TLSSocket } from 'node:tls';
import { createLogger } from '../../src/app/log.ts';
import { createGateway } from '../../src/app/create-gateway.ts';
import type { RunningGateway } from '../../src/app/create-gateway.ts';
import type { Check, CheckId, Outcome } from '../../src/doctor/check.ts';
import { runDoctor } from '../../src/doctor/doctor.ts';
import type { DoctorOptions, DoctorReport } from '../../src/doctor/doctor.ts';
import { systemClock, systemRandomness } from '../../src/system.ts';
import { Workplace } from '../cli/run.ts';

export const world = { clock: systemClock, randomness: systemRandomness, actor: 'cli:tester' } as const;

export class Port {
  readonly place: Workplace;
  readonly directory: string;

  private constructor(place: Workplace) {
    this.place = place;
    this.directory = place.path('port');
  }

  static async make(): Promise<Port> {
    const port = new Port(await Workplace.make());
    const { code, stderr } = await port.place.run('init', '--dir', 'port', '--name', 'Acme', '--trust-domain', 'acme.internal');
    if (code !== 0) throw new Error(stderr);
    return port;
  }

  /** Started on free ports. */
  async serve(): Promise<RunningGateway> {
    const gateway = await createGateway({
      directory: this.directory,
      upstreams: { default: { command: [process.execPath, '--version'] } },
      listen: 'localhost:0',
      public: '127.0.0.1:0',
      enroll: false,
      logger: createLogger({ level: 'silent' }),
    });
    await gateway.listen();
    return gateway;
  }

  /** An https server with the certificate of the gateway, which answers 200 to whom it lets in. */
  async open(options: ServerOptions, onRequest: (socket: TLSSocket, request: IncomingMessage) => readonly [status: number, body: string] = () => [200, '{}']): Promise<OpenGate> {
    const file = (...parts: string[]): Promise<string> => readFile(this.place.path('port', ...parts), 'utf8');
    const server = createServer(
      {
        key: await file('keys', 'server.key.pem'),
        cert: await file('certs', 'server.cert.pem'),
        ca: [await file('certs', 'issuing.cert.pem'), await file('certs', 'root.cert.pem')],
        requestCert: true,
        ...options,
      },
      (request, response) => {
        const [status, body] = onRequest(request.socket as TLSSocket, request);
        response.writeHead(status, { 'content-type': 'application/json', 'content-length': body.length }).end(body);
      },
    );
    return OpenGate.listen(server);
  }

  doctor(options: Partial<DoctorOptions>): Promise<DoctorReport> {
    return runDoctor({ directory: this.directory, ...world, ...options });
  }

  remove(): Promise<void> {
    return this.place.remove();
  }
}

export class OpenGate {
  readonly url: string;
  readonly #server: Server;

  private constructor(server: Server) {
    this.#server = server;
    const address = server.address();
    this.url = `https://localhost:${typeof address === 'object' && address !== null ? address.port : 0}`;
  }

  static async listen(server: Server): Promise<OpenGate> {
    await new Promise<void>((resolve) => {
      server.listen(0, 'localhost', resolve);
    });
    return new OpenGate(server);
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => {
      this.#server.close(resolve);
    });
  }
}

export const outcomes = ({ checks }: DoctorReport, wanted: Outcome): readonly CheckId[] => checks.filter(({ outcome }) => outcome === wanted).map(({ id }) => id);

export const checkIn = ({ checks }: DoctorReport, id: CheckId): Check => {
  const found = checks.find((check) => check.id === id);
  if (found === undefined) throw new Error(`no check ${id}`);
  return found;
};

/** The gateway's answer to a peer it refuses. */
export const refusal = (code: string): readonly [number, string] => [403, JSON.stringify({ error: { code, message: code } })];
