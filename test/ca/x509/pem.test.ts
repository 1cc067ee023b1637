import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { CaError } from '../../../ca/errors.ts';
import { decodePem, derOf, encodePem } from '../../../ca/x509/pem.ts';
import { refusal } from './refusal.ts';

const block = encodePem('CERTIFICATE', Uint8Array.of(0x30, 1, 0));

test('a block is written with 64 characters a line and its label', () => {
  const text = encodePem('X509 CRL', new Uint8Array(60));
  expect(text.split('\n')).toEqual(['-----BEGIN X509 CRL-----', 'A'.repeat(64), 'A'.repeat(16), '-----END X509 CRL-----', '']);
});

test('several blocks come in order, and a label picks among them', () => {
  const text = `Subject: somebody\n${block}${encodePem('X509 CRL', Uint8Array.of(1))}${block.replaceAll('\n', '\r\n')}`;
  expect(decodePem(text).map(({ label }) => label)).toEqual(['CERTIFICATE', 'X509 CRL', 'CERTIFICATE']);
  expect(decodePem(text, 'CERTIFICATE')).toHaveLength(2);
});

test.each([
  ['no block', 'hello', 'no block found; expected a line like -----BEGIN CERTIFICATE-----'],
  ['no END line', block.slice(0, 33), 'a block has no END line'],
  ['another END label', block.replace('END CERTIFICATE', 'END KEY'), 'a BEGIN line and its END line do not belong together'],
  ['an END line first', block.slice(28), 'an END line has no BEGIN line'],
  ['a nested BEGIN line', `-----BEGIN A-----\n${block}`, 'a BEGIN line and its END line do not belong together'],
  ['characters outside base64', block.replace('MAEA', 'MA*A'), 'a block does not hold padded base64'],
  ['missing padding', block.replace('MAEA', 'MAE'), 'a block does not hold padded base64'],
  ['a blank within a line', block.replace('MAEA', 'MA EA'), 'a block does not hold padded base64'],
  ['stray bits under the padding', block.replace('MAEA', 'MAF='), 'a block ends in stray bits'],
  ['an empty block', block.replace('MAEA\n', ''), 'a block does not hold padded base64'],
  ['headers of an encrypted key', block.replace('MAEA', 'Proc-Type: 4,ENCRYPTED\n\nMAEA'), 'a block does not hold padded base64'],
  ['a boundary in the middle of a line', ` ${block}`, 'a boundary does not start its line'],
  ['a label in lower case', block.replaceAll('CERTIFICATE', 'certificate'), 'a boundary line is not of the form -----BEGIN LABEL-----'],
])('%s is refused', (_, text, message) => {
  expect(refusal(() => decodePem(text))).toEqual({ code: 'ERR_PEM_INVALID', message: `the PEM text is malformed: ${message}` });
});

test('one structure is taken from DER, from PEM text and from PEM octets, but never from two blocks', () => {
  const der = Uint8Array.of(0x30, 1, 0);
  expect(derOf(der, 'CERTIFICATE')).toEqual(der);
  expect(derOf(block, 'CERTIFICATE')).toEqual(der);
  expect(derOf(new TextEncoder().encode(block), 'CERTIFICATE')).toEqual(der);
  expect(refusal(() => derOf(block + block, 'CERTIFICATE')).message).toContain('more than one CERTIFICATE block');
  expect(refusal(() => derOf(block, 'X509 CRL')).message).toContain('no X509 CRL block found');
});

test('any octets survive the round trip, and any text is read or refused with a code', () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 1, maxLength: 300 }), fc.string(), (der, noise) => {
      expect(decodePem(encodePem('CERTIFICATE', der))).toEqual([{ label: 'CERTIFICATE', der }]);
      for (const text of [noise, `-----BEGIN A-----\n${noise}\n-----END A-----\n`, block.slice(0, 30) + noise + block.slice(30)]) {
        try {
          decodePem(text);
        } catch (error) {
          expect(error).toBeInstanceOf(CaError);
        }
      }
    }),
    { numRuns: 200 },
  );
});
