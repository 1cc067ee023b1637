/**
 * One token with one session: found, logged in, and opened again when the session is lost. The library
 * that talks PKCS#11 is an optional dependency with a native part, loaded when the first key needs it.
 */
import { open } from 'node:fs/promises';
import type { Module, PrivateKey, PublicKey, Session, Slot } from 'graphene-pk11';
import { CaError } from '../errors.ts';
import { keyUriName } from './uri.ts';
import type { KeyUri, TokenOptions } from './uri.ts';

export type Graphene = typeof import('graphene-pk11');

export class Token {
  readonly graphene: Graphene;
  readonly #uri: KeyUri;
  readonly #pin: string | undefined;
  readonly #module: Module;
  #session: Session | undefined;
  #queue: Promise<unknown> = Promise.resolve();

  private constructor(graphene: Graphene, module: Module, uri: KeyUri, pin: string | undefined) {
    this.graphene = graphene;
    this.#module = module;
    this.#uri = uri;
    this.#pin = pin;
  }

  /** @throws CaError `ERR_KEY_TOKEN` */
  static async open(uri: KeyUri, options: TokenOptions): Promise<Token> {
    const graphene = await loadGraphene();
    return new Token(graphene, moduleAt(graphene, uri.modulePath), uri, options.pin);
  }

  /** One operation at a time: a session has one state. A lost session is opened again, once. */
  async use<T>(work: (session: Session) => Promise<T> | T): Promise<T> {
    const turn = this.#queue.then(async () => {
      try {
        return await work(await this.#opened());
      } catch (error) {
        if (!lostSession.has(codeOf(error) ?? -1)) throw this.#failure(error);
        this.#forget();
        try {
          return await work(await this.#opened());
        } catch (again) {
          this.#forget();
          throw this.#failure(again);
        }
      }
    });
    this.#queue = turn.catch(() => undefined);
    return turn;
  }

  /** The key pair that the URI names; the public half may be missing. */
  find(session: Session): { readonly privateKey: PrivateKey | undefined; readonly publicKey: PublicKey | undefined } {
    const { ObjectClass } = this.graphene;
    const template = { ...(this.#uri.object === undefined ? {} : { label: this.#uri.object }), ...(this.#uri.id === undefined ? {} : { id: Buffer.from(this.#uri.id) }) };
    const only = <Key>(objectClass: number): Key | undefined => {
      const found = session.find({ ...template, class: objectClass });
      if (found.length > 1) throw new CaError('ERR_KEY_TOKEN', `${keyUriName(this.#uri)} is the name of ${found.length} keys; add id= to the URI`);
      return found.length === 0 ? undefined : (found.items(0).toType() as unknown as Key);
    };
    return { privateKey: only<PrivateKey>(ObjectClass.PRIVATE_KEY), publicKey: only<PublicKey>(ObjectClass.PUBLIC_KEY) };
  }

  /** Ends the session; the next use opens another. */
  close(): void {
    const session = this.#session;
    this.#session = undefined;
    try {
      session?.close();
    } catch {
      // Lost already.
    }
  }

  async #opened(): Promise<Session> {
    if (this.#session !== undefined) return this.#session;
    const { SessionFlag, UserType } = this.graphene;
    const session = this.#slot().open(SessionFlag.RW_SESSION | SessionFlag.SERIAL_SESSION);
    try {
      const pin = this.#uri.pinFile === undefined ? this.#pin : await readPin(this.#uri.pinFile);
      if (pin === undefined) throw new CaError('ERR_KEY_PASSPHRASE', `the PIN of ${keyUriName(this.#uri)} is missing; name its file with pin-source in the URI, or give it as passphrase`);
      session.login(pin, UserType.USER);
    } catch (error) {
      // Another session of this process is logged in, and with it this one.
      if (codeOf(error) !== ALREADY_LOGGED_IN) {
        session.close();
        throw error;
      }
    }
    this.#session = session;
    return session;
  }

  #slot(): Slot {
    const slots = this.#module.getSlots(true);
    const labels: string[] = [];
    for (let index = 0; index < slots.length; index++) {
      const slot = slots.items(index);
      const token = slot.getToken();
      const { label, serial, manufacturer, model } = this.#uri.token;
      // Fixed-width fields, filled up with blanks.
      const is = (wanted: string | undefined, actual: string): boolean => wanted === undefined || wanted === actual.replace(/[\s\0]+$/, '');
      if (is(label, token.label) && is(serial, token.serialNumber) && is(manufacturer, token.manufacturerID) && is(model, token.model)) return slot;
      labels.push(token.label.trim());
    }
    throw new CaError('ERR_KEY_TOKEN', `no token matches ${keyUriName(this.#uri)}; ${labels.length === 0 ? 'insert it, or look at the library in module-path' : `there are: ${labels.map((label) => JSON.stringify(label)).join(', ')}`}`);
  }

  #forget(): void {
    this.close();
    // What a library forgets in its own reset: initialized again only where it was lost.
    try {
      this.#module.initialize();
    } catch {
      // It was not.
    }
  }

  #failure(error: unknown): unknown {
    if (error instanceof CaError) return error;
    const code = codeOf(error);
    const name = keyUriName(this.#uri);
    if (code === PIN_INCORRECT || code === PIN_LENGTH) return new CaError('ERR_KEY_PASSPHRASE', `the token refuses the PIN of ${name}; check it before the token locks itself`, { cause: error });
    if (code === PIN_LOCKED) return new CaError('ERR_KEY_PASSPHRASE', `the PIN of ${name} is locked after wrong ones; have the token's officer reset it`, { cause: error });
    return new CaError('ERR_KEY_TOKEN', `the token of ${name} failed (${error instanceof Error ? error.message : 'unknown'}); look at its library and its connection`, { cause: error });
  }
}

// PKCS#11 §3.6 and Appendix B: return values.
const PIN_INCORRECT = 0xa0;
const PIN_LENGTH = 0xa2;
const PIN_LOCKED = 0xa4;
const ALREADY_LOGGED_IN = 0x100;
/** Session, device, login or object handles that are no more; worth a second attempt with a new session. */
const lostSession: ReadonlySet<number> = new Set([0x30, 0x32, 0x60, 0x82, 0xb0, 0xb3, 0xe0, 0x101, 0x190]);

/** The number in a PKCS#11 error of the library. */
function codeOf(error: unknown): number | undefined {
  return typeof error === 'object' && error !== null && 'code' in error && typeof error.code === 'number' ? error.code : undefined;
}

async function loadGraphene(): Promise<Graphene> {
  try {
    const loaded = await import('graphene-pk11');
    // CommonJS: its exports are the default.
    return (loaded as unknown as { readonly default?: Graphene }).default ?? loaded;
  } catch (cause) {
    throw new CaError('ERR_KEY_TOKEN', 'keys on tokens need the package graphene-pk11; run npm install graphene-pk11, and let it build its native part', { cause });
  }
}

/** A library may be loaded once in a process. */
const modules = new Map<string, Module>();

function moduleAt(graphene: Graphene, path: string): Module {
  const known = modules.get(path);
  if (known !== undefined) return known;
  try {
    const module = graphene.Module.load(path, path);
    module.initialize();
    modules.set(path, module);
    return module;
  } catch (cause) {
    throw new CaError('ERR_KEY_TOKEN', `the PKCS#11 library ${path} cannot be loaded (${cause instanceof Error ? cause.message : 'unknown'}); check module-path in the key URI`, { facts: { path }, cause });
  }
}

async function readPin(path: string): Promise<string> {
  let text: string;
  try {
    const file = await open(path, 'r');
    try {
      const { mode } = await file.stat();
      if (process.platform !== 'win32' && (mode & 0o077) !== 0) throw new CaError('ERR_KEY_MODE', `${path} may be read by others (mode ${(mode & 0o777).toString(8)}); run chmod 600 on it, and change the PIN if someone else may have read it`, { facts: { path } });
      text = await file.readFile('utf8');
    } finally {
      await file.close();
    }
  } catch (cause) {
    if (cause instanceof CaError) throw cause;
    throw new CaError('ERR_KEY_PASSPHRASE', `the PIN cannot be read from ${path}; check pin-source in the key URI`, { facts: { path }, cause });
  }
  // The line end an editor adds is not part of it.
  const pin = text.replace(/\r?\n$/, '');
  if (pin === '') throw new CaError('ERR_KEY_PASSPHRASE', `${path} is empty; put the PIN into it`, { facts: { path } });
  return pin;
}
