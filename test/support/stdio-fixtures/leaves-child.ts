/** Answers, then exits and leaves a grandchild that holds stdout open. */
import { spawn } from 'node:child_process';

const grandchild = spawn(process.execPath, ['-e', 'setInterval(()=>{},1000)'], { stdio: ['ignore', 'inherit', 'ignore'] });
process.stdin.on('data', (chunk: Buffer) => {
  const { id, method } = JSON.parse(chunk.toString('utf8')) as { id: number; method: string };
  if (method === 'ping') process.exit(0);
  process.stdout.write(`${JSON.stringify({ jsonrpc: '2.0', id, result: { protocolVersion: '2025-06-18', pids: [grandchild.pid] } })}\n`);
});
