/** One suite, `node run-suite.ts NAME [amount]`: hands its rows to the parent process. */
import { suites } from './suites.ts';

const [name = '', amount] = process.argv.slice(2);
const suite = suites[name];
if (suite === undefined) throw new Error(`there is no suite ${name}`);
process.on('disconnect', () => { process.exit(1); });
const { run } = await suite.load();
const rows = await (amount === undefined ? run() : run(Number(amount)));
process.send?.(rows, () => { process.exit(); });
