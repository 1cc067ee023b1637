/** The shape of `admins` in sallyport.yaml. */
import { z } from 'zod';
import { list, pattern, when as whenOfPolicy } from '../policy/schema.ts';

const word = z.enum(['issuer', 'revoker', 'approver', 'reader', 'admin']);
const roles = () => z.union([word.transform((one) => [one]), z.array(word).max(5)], { error: 'must be issuer, revoker, approver, reader or admin, or a list of these' });

/** As in the policy, but only certificates of our own CA are meant, and there is no such thing as everybody being an admin. */
export const adminWhen = whenOfPolicy.omit({ dangerouslyAnyCertificate: true, trust: true });

const patterns = () => list(pattern).refine((some) => some.length > 0, 'name at least one value');

export const adminSchema = z
  .strictObject({
    role: roles().optional().describe('issuer, revoker, approver, reader or admin'),
    roles: roles().optional().describe('Several of these'),
    when: adminWhen.refine((conditions) => Object.values(conditions).some((values) => values !== undefined), 'has no condition: name at least one attribute, such as organizationalUnit').describe('What the certificate must have, as in the policy'),
    profiles: patterns().optional().describe('Profiles that may be issued and revoked. Default: all'),
    organizationalUnits: patterns().optional().describe('Organizational units that certificates it is about may have, all of them, and at least one. Default: any and none'),
  })
  .refine((entry) => (entry.role?.length ?? 0) + (entry.roles?.length ?? 0) > 0, 'names no role: add role: issuer, revoker, approver, reader or admin');

export type AdminInput = z.output<typeof adminSchema>;
