// Opens streams over one HTTP/2 connection with the given header fields, and prints what arrives on each of them as lines
// of JSON: pieces of a response with 200, and the refusals.
import { connect } from "node:http2";

const { url, streams, fields, ca } = JSON.parse(process.argv[2]);
const print = (line) => console.log(JSON.stringify(line));
const session = connect(url, { ca });
session.on("connect", () => print({ protocol: session.alpnProtocol }));
for (let stream = 0; stream < streams; stream++) {
  const request = session.request({ ":path": `/v1/sessions/${stream}/events`, ...fields });
  request.setEncoding("utf8");
  request.on("response", ({ ":status": status }) => {
    if (status === 200) request.on("data", (text) => print({ stream, text }));
    else print({ stream, status });
  });
  request.on("error", () => print({ stream, status: 0 }));
}
