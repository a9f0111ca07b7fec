// Reads responses side by side over HTTP/1.1 or HTTP/2, and tells how the transport ended each one. Prints lines of JSON:
// {name, text} for each piece, {name, status, end} last, where `end` is "end", "cut", "RST_STREAM <code>", or the error
// of a connection that was not made.
import http from 'node:http';
import http2 from 'node:http2';

const say = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);

function readHttp1({ name, url, method, headers, body }) {
  const request = http.request(url, { method, headers, agent: false }, (response) => {
    response.setEncoding('utf8').on('data', (text) => say({ name, text }));
    response.on('error', () => {}); // `close` follows
    response.on('close', () => say({ name, status: response.statusCode, end: response.complete ? 'end' : 'cut' }));
  });
  request.on('error', (error) => say({ name, status: 0, end: error.code }));
  request.end(body);
}

function readHttp2({ name, url, method, headers, body }) {
  const { origin, pathname, search } = new URL(url);
  const connection = http2.connect(origin, { rejectUnauthorized: false });
  connection.on('error', () => {}); // `close` of the stream follows
  const stream = connection.request({ ':method': method, ':path': pathname + search, ...headers }, { endStream: !body });
  let status = 0;
  stream.on('response', (fields) => (status = fields[':status']));
  stream.setEncoding('utf8').on('data', (text) => say({ name, text }));
  stream.on('error', () => {}); // `close` follows
  stream.on('close', () => {
    const code = stream.rstCode;
    say({ name, status, end: code === 0 && !stream.aborted ? 'end' : `RST_STREAM ${code}` });
    connection.close();
  });
  if (body) stream.end(body);
}

const { requests } = JSON.parse(process.argv[2]);
for (const request of requests) (request.http === '2' ? readHttp2 : readHttp1)(request);
