/** Audit events about tool definitions, one function per action. */
import type { AuditEvent } from '../../ca/ports.ts';
import { changedMembers } from '../mcp/tool-definition.ts';
import type { SeenTool, ToolRecord } from '../store/tool-definitions.ts';

export const toolAdded = (upstream: string, tool: SeenTool, time: Date): AuditEvent => ({
  action: 'tool.added',
  outcome: 'done',
  time,
  actor: 'gateway',
  upstream,
  name: tool.name,
  detail: { digest: tool.digest },
});

export const toolChanged = (
  upstream: string,
  tool: SeenTool,
  { before, approvedDigest, time, suppressed }: { before: SeenTool; approvedDigest: string; time: Date; suppressed: number },
): AuditEvent => ({
  action: 'tool.changed',
  outcome: 'done',
  time,
  actor: 'gateway',
  upstream,
  name: tool.name,
  detail: {
    from: before.digest,
    to: tool.digest,
    approved: approvedDigest,
    members: changedMembers(before.definition, tool.definition),
    ...(suppressed > 0 ? { suppressed } : {}),
  },
});

export const toolApproved = (before: ToolRecord, { time, actor }: { time: Date; actor: string }): AuditEvent => ({
  action: 'tool.approved',
  outcome: 'done',
  time,
  actor,
  upstream: before.upstream,
  name: before.name,
  detail: {
    digest: before.currentDigest,
    ...(before.approved ? { instead: before.approvedDigest } : {}),
    members: changedMembers(before.approvedDefinition, before.currentDefinition),
  },
});
