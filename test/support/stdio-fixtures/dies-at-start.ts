process.stderr.write('Error: no API key configured\n');
process.exit(7);
