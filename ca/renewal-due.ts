/** When a certificate is due for its successor. */

/** What this CA backdates by default. A lifetime is counted without it, so that a minute is renewed after forty seconds and not after twenty. */
const backdatingMs = 60_000;

/** Between two thirds of its lifetime and a twentieth later; `jitter` says where, from 0 to 1, so that a fleet does not come at once. */
export const renewalDue = ({ notBefore, notAfter }: { readonly notBefore: Date; readonly notAfter: Date }, jitter: number): Date => {
  // RFC 5280 §4.1.2.5: notAfter is part of the lifetime.
  const whole = notAfter.getTime() + 1_000 - notBefore.getTime();
  const lifetime = whole > backdatingMs ? whole - backdatingMs : whole;
  const left = lifetime * (1 / 3 - Math.min(1, Math.max(0, jitter)) / 20);
  return new Date(Math.floor(notAfter.getTime() + 1_000 - left));
};
