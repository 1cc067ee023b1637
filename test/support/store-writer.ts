/** `node store-writer.ts <database> [log key in PEM]`: issues certificates and prints `done <serial>` for each that the store acknowledged, until the first failure. */
import { createPrivateKey, randomBytes } from 'node:crypto';
import { createCheckpointSigner } from '../../src/audit/checkpoint.ts';
import { codeOf } from '../../src/errors.ts';
import { openStore } from '../../src/store/open-store.ts';
import { systemClock } from '../../src/system.ts';
import { anIntent, issue } from './records.ts';

const [path, keyPem] = process.argv.slice(2);
const failed = (error: unknown): void => {
  process.stdout.write(`failed ${codeOf(error)} ${error instanceof Error ? error.message : ''}\n`);
};

try {
  const signer = keyPem === undefined ? undefined : createCheckpointSigner({ origin: 'acme/audit', privateKey: createPrivateKey(keyPem) });
  const store = await openStore(`sqlite:${path ?? ''}`, { clock: systemClock, checkpointSigner: signer });
  let ended = false;
  const one = async (): Promise<void> => {
    while (!ended) {
      const intent = anIntent({ tbs: randomBytes(300) });
      try {
        await issue(store.ca, intent);
        process.stdout.write(`done ${intent.serial}\n`);
      } catch (error) {
        if (!ended) failed(error);
        ended = true;
      }
    }
  };
  await Promise.all(Array.from({ length: 8 }, () => one()));
  await store.close();
} catch (error) {
  failed(error);
}
