process.stdin.on('data', (chunk: Buffer) => {
  const { id } = JSON.parse(chunk.toString('utf8')) as { id: number };
  process.stdout.write(`${JSON.stringify({ jsonrpc: '2.0', id, error: { code: -32602, message: 'unsupported revision' } })}\n`);
});
