"""What people put before Chroma: asks for a bearer token, and speaks TLS where tls.crt and tls.key lie beside it.

Standard library only. Forwards to the shared Chroma server of the scenarios.
"""

import http.client
import http.server
import pathlib
import ssl

HERE = pathlib.Path(__file__).parent
TOKEN = (HERE / "token").read_text()
UPSTREAM = "chroma.prod.svc.cluster.local"


class Gateway(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def forward(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self.answer(401, "text/plain", b"a bearer token is asked for")
        upstream = http.client.HTTPConnection(UPSTREAM, 8000, timeout=60)
        upstream.request(self.command, self.path, body, {"Content-Type": "application/json"})
        answer = upstream.getresponse()
        self.answer(answer.status, answer.headers.get("Content-Type", "application/json"), answer.read())
        upstream.close()

    def answer(self, status, kind, body):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PUT = do_DELETE = forward


server = http.server.ThreadingHTTPServer(("", 8000), Gateway)
if (HERE / "tls.crt").exists():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(HERE / "tls.crt", HERE / "tls.key")
    server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
