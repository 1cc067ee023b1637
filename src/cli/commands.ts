/** Every command, in the order of --help: one file each, one line each. */
import { registerAudit } from './audit.ts';
import type { RegisterCommand } from './cli.ts';
import { registerClientConfig } from './client-config.ts';
import { registerConnect } from './connect.ts';
import { registerCrl } from './crl.ts';
import { registerDemo } from './demo.ts';
import { registerDoctor } from './doctor.ts';
import { registerEnroll } from './enroll.ts';
import { registerInit } from './init.ts';
import { registerInventory } from './inventory.ts';
import { registerIssue } from './issue.ts';
import { registerPolicy } from './policy.ts';
import { registerRevoke } from './revoke.ts';
import { registerServe } from './serve.ts';
import { registerToken } from './token.ts';
import { registerTools } from './tools.ts';

export const commands: readonly RegisterCommand[] = [
  registerDemo,
  registerInit,
  registerIssue,
  registerToken,
  registerEnroll,
  registerServe,
  registerConnect,
  registerClientConfig,
  registerRevoke,
  registerInventory,
  registerCrl,
  registerPolicy,
  registerTools,
  registerAudit,
  registerDoctor,
];
