/**
 * The container of a backup: a header that says how the key is made of the passphrase, then frames of
 * AES-256-GCM. What went in comes out whole, in order and to its end, or with an error that says why not.
 *
 *     octets   0..15  "SALLYPORT BACKUP"
 *             16      version, 1
 *             17..19  scrypt: log2 N, r, p
 *             20..51  salt
 *             52..83  HMAC-SHA-256 of octets 0 to 51, which tells a wrong passphrase
 *             84..91  the first octets of SHA-256 of octets 0 to 83, which tells a damaged header
 *     frames          4 octets: the highest bit marks the last frame, the rest is the length of its plain octets;
 *                     as many octets of ciphertext; 16 octets of tag
 *
 * The nonce of a frame is its number, so frames cannot change places; its first four octets are
 * authenticated, so the end cannot move. A salt is used once, so a nonce is too.
 */
import { createCipheriv, createDecipheriv, createHmac, hash, scrypt, timingSafeEqual } from 'node:crypto';
import type { FileHandle } from 'node:fs/promises';
import type { Randomness } from '../../ca/ports.ts';
import { SallyportError } from '../errors.ts';

const magic = Buffer.from('SALLYPORT BACKUP', 'latin1');
const version = 1;
const saltAt = 20;
const tagAt = 52;
const checksumAt = 84;
const headerLength = 92;
const frameLength = 64 * 1024;
const lastFrame = 0x8000_0000;
const tagLength = 16;

/** OWASP's figure for scrypt: 128 MiB, a third of a second, each time a backup is opened. */
const defaultLogN = 17;
/** A header of somebody else must not have us reserve all memory: 1 GiB is the most. */
const logNs = { least: 10, most: 20 };
const blockSize = 8;

export interface SealOptions {
  readonly passphrase: string;
  readonly randomness: Randomness;
  /** Binary logarithm of scrypt's cost. Default 17. */
  readonly logN?: number | undefined;
}

/** Seals what it is given into a file. Without `end` the file is no backup. */
export class ContainerWriter {
  readonly #file: FileHandle;
  readonly #key: Uint8Array;
  #waiting: Buffer[] = [];
  #length = 0;
  #frames = 0;

  private constructor(file: FileHandle, key: Uint8Array) {
    this.#file = file;
    this.#key = key;
  }

  static async begin(file: FileHandle, { passphrase, randomness, logN = defaultLogN }: SealOptions): Promise<ContainerWriter> {
    const header = Buffer.alloc(headerLength);
    magic.copy(header);
    header.set([version, logN, blockSize, 1], magic.length);
    header.set(randomness.bytes(tagAt - saltAt), saltAt);
    const keys = await deriveKeys(passphrase, header);
    header.set(headerTag(keys.header, header), tagAt);
    header.set(checksum(header), checksumAt);
    await writeAll(file, header);
    return new ContainerWriter(file, keys.frames);
  }

  async write(octets: Uint8Array): Promise<void> {
    this.#waiting.push(Buffer.from(octets.buffer, octets.byteOffset, octets.byteLength));
    this.#length += octets.length;
    if (this.#length < frameLength) return;
    const all = Buffer.concat(this.#waiting);
    let from = 0;
    // One frame always waits: the last one is marked.
    for (; all.length - from > frameLength; from += frameLength) await this.#seal(all.subarray(from, from + frameLength), 0);
    this.#waiting = [Buffer.from(all.subarray(from))];
    this.#length = all.length - from;
  }

  async end(): Promise<void> {
    await this.#seal(Buffer.concat(this.#waiting), lastFrame);
    this.#key.fill(0);
  }

  async #seal(plain: Buffer, mark: number): Promise<void> {
    const head = Buffer.alloc(4);
    head.writeUInt32BE((mark | plain.length) >>> 0);
    const cipher = createCipheriv('aes-256-gcm', this.#key, nonceOf(this.#frames++));
    cipher.setAAD(head);
    await writeAll(this.#file, Buffer.concat([head, cipher.update(plain), cipher.final(), cipher.getAuthTag()]));
  }
}

/** The octets that were sealed, frame by frame. @throws SallyportError `ERR_BACKUP_INVALID`, `_PASSPHRASE`, `_TRUNCATED`, `_ALTERED` */
export async function* openContainer(file: FileHandle, { passphrase }: { readonly passphrase: string }): AsyncGenerator<Buffer> {
  const header = await read(file, headerLength);
  if (!magic.equals(header.subarray(0, magic.length))) throw new SallyportError('ERR_BACKUP_INVALID', 'this is not a backup of Sallyport; name the file that sallyport backup wrote');
  if (header.length < headerLength) throw truncated();
  if (!checksum(header).equals(header.subarray(checksumAt))) throw altered('its header is damaged');
  if (header[magic.length] !== version) throw new SallyportError('ERR_BACKUP_INVALID', `the backup has format ${header[magic.length]}, this Sallyport reads ${version}: upgrade it`);
  const keys = await deriveKeys(passphrase, header);
  if (!timingSafeEqual(headerTag(keys.header, header), header.subarray(tagAt, checksumAt))) throw new SallyportError('ERR_BACKUP_PASSPHRASE', 'the backup does not open with this passphrase; check it');
  const key = keys.frames;
  for (let frame = 0; ; frame++) {
    const head = await read(file, 4);
    if (head.length < 4) throw truncated();
    const mark = head.readUInt32BE();
    const length = mark & ~lastFrame;
    if (length > frameLength) throw altered(`frame ${frame} has an impossible length`);
    const sealed = await read(file, length + tagLength);
    if (sealed.length < length + tagLength) throw truncated();
    const plain = unseal(key, { frame, head, sealed });
    if (plain === undefined) throw altered(`frame ${frame} does not authenticate`);
    const last = mark >= lastFrame;
    if (last && (await read(file, 1)).length > 0) throw altered('something follows its end');
    yield plain;
    if (last) return;
  }
}

const unseal = (key: Uint8Array, { frame, head, sealed }: { readonly frame: number; readonly head: Buffer; readonly sealed: Buffer }): Buffer | undefined => {
  const decipher = createDecipheriv('aes-256-gcm', key, nonceOf(frame), { authTagLength: tagLength });
  decipher.setAAD(head);
  decipher.setAuthTag(sealed.subarray(sealed.length - tagLength));
  const plain = decipher.update(sealed.subarray(0, sealed.length - tagLength));
  try {
    decipher.final();
    return plain;
  } catch {
    return undefined;
  }
};

const nonceOf = (frame: number): Buffer => {
  const nonce = Buffer.alloc(12);
  nonce.writeUIntBE(frame, 6, 6);
  return nonce;
};

const deriveKeys = async (passphrase: string, header: Buffer): Promise<{ readonly frames: Buffer; readonly header: Buffer }> => {
  const [logN = 0, r = 0, p = 0] = header.subarray(magic.length + 1, saltAt);
  if (logN < logNs.least || logN > logNs.most || r !== blockSize || p !== 1) throw altered('its header asks for an impossible cost of the passphrase');
  const N = 2 ** logN;
  const keys = await new Promise<Buffer>((resolve, reject) => {
    scrypt(passphrase.normalize('NFC'), header.subarray(saltAt, tagAt), 64, { N, r, p, maxmem: 256 * N * r }, (error, key) => {
      if (error === null) resolve(key);
      else reject(error);
    });
  });
  return { frames: keys.subarray(0, 32), header: keys.subarray(32) };
};

const headerTag = (key: Uint8Array, header: Buffer): Buffer => createHmac('sha256', key).update(header.subarray(0, tagAt)).digest();

const checksum = (header: Buffer): Buffer => hash('sha256', header.subarray(0, checksumAt), 'buffer').subarray(0, headerLength - checksumAt);

/** Fewer only at the end of the file. */
const read = async (file: FileHandle, length: number): Promise<Buffer> => {
  const buffer = Buffer.alloc(length);
  let got = 0;
  while (got < length) {
    const { bytesRead } = await file.read(buffer, got, length - got);
    if (bytesRead === 0) break;
    got += bytesRead;
  }
  return buffer.subarray(0, got);
};

const writeAll = async (file: FileHandle, octets: Uint8Array): Promise<void> => {
  for (let at = 0; at < octets.length; ) at += (await file.write(octets, at)).bytesWritten;
};

const truncated = (): SallyportError => new SallyportError('ERR_BACKUP_TRUNCATED', 'the backup ends before its end: it was not copied whole; copy it again, or take another');

const altered = (how: string): SallyportError => new SallyportError('ERR_BACKUP_ALTERED', `the backup was altered after it was made (${how}); take another`);
