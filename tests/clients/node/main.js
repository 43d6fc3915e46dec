// Do with ssh2 what driving.py describes.
'use strict';

const fs = require('fs');
const { Client } = require('ssh2');

const [port, user, kind, secret, up, down] = process.argv.slice(2);
const tell = (name, value) => process.stdout.write(`${name}=${value}\n`);

function run(client, command, { input, file, target } = {}) {
  return new Promise((resolve, reject) => {
    client.exec(command, (error, stream) => {
      if (error) return reject(error);
      const out = [];
      const errors = [];
      let status = null;
      stream.on('exit', (code) => { status = code; });
      stream.stderr.on('data', (data) => errors.push(data));
      const writer = target ? fs.createWriteStream(target) : null;
      if (writer) stream.pipe(writer);
      else stream.on('data', (data) => out.push(data));
      const done = () => resolve({
        output: Buffer.concat(out).toString().trim(), errors: Buffer.concat(errors).toString().trim(), status,
      });
      stream.on('close', () => (writer && !writer.closed ? writer.on('close', done) : done()));
      if (file) fs.createReadStream(file).pipe(stream);
      else stream.end(input || '');
    });
  });
}

function shell(client) {
  return new Promise((resolve, reject) => {
    client.shell({ term: 'xterm', cols: 93, rows: 31, width: 0, height: 0 }, (error, stream) => {
      if (error) return reject(error);
      let shown = '';
      let status = null;
      stream.on('data', (data) => { shown += data; });
      stream.on('exit', (code) => { status = code; });
      stream.on('close', () => resolve([shown, status]));
      stream.write('stty size; exit 3\n');
    });
  });
}

const promised = (object, method, ...args) => new Promise((resolve, reject) => {
  object[method](...args, (error, value) => (error ? reject(error) : resolve(value)));
});

async function main() {
  const client = new Client();
  await new Promise((resolve, reject) => {
    client.on('ready', resolve).on('error', reject).connect({
      host: '127.0.0.1',
      port: Number(port),
      username: user,
      ...(kind === 'key' ? { privateKey: fs.readFileSync(secret) } : { password: secret }),
    });
  });
  tell('version', require('ssh2/package.json').version);
  const first = await run(client, 'echo out; echo err >&2; exit 7');
  for (const [name, value] of Object.entries(first)) tell(name, value);
  if (kind === 'key') {
    tell('counted', (await run(client, 'wc -c', { input: '12345' })).output);
    const [shown, left] = await shell(client);
    tell('terminal', JSON.stringify(shown));
    tell('left', left);
    tell('sent', (await run(client, 'cat >sent && sha256sum <sent', { file: up })).output.split(' ')[0]);
    await run(client, 'cat sent', { target: down });
    const files = await promised(client, 'sftp');
    await promised(files, 'fastPut', up, 'put');
    await promised(files, 'rename', 'put', 'named');
    await promised(files, 'fastGet', 'named', `${down}.sftp`);
    tell('listed', (await promised(files, 'readdir', '.')).some((entry) => entry.filename === 'named'));
  }
  client.end();
}

main().catch((error) => { console.error(error); process.exit(1); });
