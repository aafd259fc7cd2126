// An HTTPS server of node that says GOAWAY before it answers. Its first line of output is its port.
const fs = require("node:fs");
const http2 = require("node:http2");

const [certificate, key] = process.argv.slice(2);
const server = http2.createSecureServer({
  cert: fs.readFileSync(certificate),
  key: fs.readFileSync(key),
});
server.on("stream", (stream) => {
  stream.session.close();
  stream.respond({ ":status": 200 });
  stream.write("clo");
  setImmediate(() => stream.end("sed"));
});
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
