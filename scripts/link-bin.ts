// In a clone, `npx sallyport` must find this package's own command: npm links the commands of
// dependencies only. Run by `npm ci` and `npm install` through the prepare script.
import { chmodSync, mkdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const bin = fileURLToPath(new URL('../node_modules/.bin/', import.meta.url));
mkdirSync(bin, { recursive: true });
if (process.platform === 'win32') {
  writeFileSync(`${bin}sallyport.cmd`, '@node "%~dp0\\..\\..\\bin\\sallyport.js" %*\r\n');
} else {
  rmSync(`${bin}sallyport`, { force: true });
  symlinkSync('../../bin/sallyport.js', `${bin}sallyport`);
  chmodSync(fileURLToPath(new URL('../bin/sallyport.js', import.meta.url)), 0o755);
}
