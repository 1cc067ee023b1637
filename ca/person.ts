/**
 * Who is behind an actor of the audit log: `cli:alice`, `cli:ACME\alice` and `cli:alice@acme.example` of a directory
 * service, `cn:alice` and `spiffe://acme.internal/user/alice` are taken for one person. Two people who share a name are
 * taken for one too, which only means that a third has to approve.
 */
export const personOf = (actor: string): string => actor.replace(/^.*[/:\\]/s, '').replace(/@.*$/s, '').trim().toLowerCase();
