/** Connections of validation: where they may go, and for how long. */
import { connect as connectTcp, isIP } from 'node:net';
import type { Socket } from 'node:net';
import type { Identifier } from '../ports.ts';
import { AcmeProblem } from '../problem.ts';

/** Addresses of a name; rejects when there are none. */
export type Resolve = (name: string) => Promise<readonly string[]>;

export interface ValidationNetwork {
  readonly resolve: Resolve;
  /** Whether a connection to this address is allowed at all. */
  mayConnect(address: string): boolean;
  /** Whether a redirection may lead to this host. */
  mayFollow(host: string): boolean;
  readonly httpPort: number;
  readonly tlsPort: number;
  /** Of one attempt, everything included. */
  readonly timeoutMs: number;
  /** Ends what is under way when the server closes. */
  readonly closing: AbortSignal;
}

export interface Validation {
  readonly identifier: Identifier;
  readonly token: string;
  /** RFC 8555 §8.1: token and thumbprint of the account key. */
  readonly keyAuthorization: string;
}

/** Addresses tried of one name. */
const maxAddresses = 3;

export const deadlineOf = ({ timeoutMs, closing }: ValidationNetwork): AbortSignal => AbortSignal.any([AbortSignal.timeout(timeoutMs), closing]);

/** The addresses of a host that may be connected to, IPv6 first. @throws AcmeProblem `dns`, `rejectedIdentifier` */
export const addressesOf = async (host: string, network: ValidationNetwork, signal: AbortSignal): Promise<readonly string[]> => {
  const found = isIP(host) === 0 ? await resolved(host, network, signal) : [host];
  const allowed = found.filter((address) => network.mayConnect(address));
  if (allowed.length === 0) throw new AcmeProblem('connection', `${host} is at ${found.slice(0, maxAddresses).join(', ')}, which is outside what validation may connect to (ca.acme.validationRanges)`);
  return allowed.toSorted((a, b) => isIP(b) - isIP(a)).slice(0, maxAddresses);
};

const resolved = async (host: string, network: ValidationNetwork, signal: AbortSignal): Promise<readonly string[]> => {
  let found: readonly string[];
  try {
    found = (await endedBy(network.resolve(host), signal)).filter((address) => isIP(address) !== 0);
  } catch (cause) {
    throw new AcmeProblem('dns', `${host} has no address, or it could not be asked for`, { cause });
  }
  if (found.length === 0) throw new AcmeProblem('dns', `${host} has no address`);
  return found;
};

/** The first address that takes the connection. The socket goes to exactly the address that was checked: nothing is resolved again. @throws AcmeProblem */
export const connectTo = async (host: string, port: number, network: ValidationNetwork, signal: AbortSignal): Promise<Socket> => {
  let last: unknown;
  for (const address of await addressesOf(host, network, signal)) {
    try {
      return await connected(address, port, signal);
    } catch (error) {
      last = error;
      if (signal.aborted) break;
    }
  }
  throw new AcmeProblem('connection', signal.aborted ? `${host} did not answer at port ${port} in time` : `nothing takes connections at port ${port} of ${host}`, { cause: last });
};

const connected = (address: string, port: number, signal: AbortSignal): Promise<Socket> =>
  new Promise((resolve, reject) => {
    // A plain socket: no proxy of the environment comes between.
    const socket = connectTcp({ host: address, port, signal });
    // Of several addresses one that never answers must leave time for the others.
    const timer = setTimeout(() => socket.destroy(new Error('no answer')), 3_000);
    socket.once('connect', () => {
      clearTimeout(timer);
      resolve(socket);
    });
    socket.once('error', (error) => {
      clearTimeout(timer);
      reject(error);
    });
    // Later errors are those of whoever uses it.
    socket.on('error', () => undefined);
  });

/** Rejects once the signal does, whatever becomes of the work. */
export const endedBy = <T>(work: Promise<T>, signal: AbortSignal): Promise<T> => {
  const { promise, reject } = Promise.withResolvers<never>();
  const end = (): void => reject(signal.reason instanceof Error ? signal.reason : new Error('out of time'));
  if (signal.aborted) end();
  signal.addEventListener('abort', end, { once: true });
  work.catch(() => undefined);
  return Promise.race([work, promise]).finally(() => signal.removeEventListener('abort', end));
};
