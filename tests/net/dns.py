"""A DNS server for tests, by UDP and TCP: names by their ends, and one text for all of them.

Usage: dns.py LISTEN PORT TEXT SUFFIX=ADDRESS[,ADDRESS]… The first suffix that fits counts; a name that none fits does
not exist. What it was asked goes to standard output. It knows one question a message and nothing else.
"""
import socket
import socketserver
import struct
import sys
import threading

listen, port, text = sys.argv[1], int(sys.argv[2]), sys.argv[3].encode()
rules = [rule.split("=") for rule in sys.argv[4:]]


def answer(query):
    at, labels = 12, []
    while query[at]:
        labels.append(query[at + 1 : at + 1 + query[at]].decode())
        at += 1 + query[at]
    name, kind = ".".join(labels).lower(), struct.unpack("!H", query[at + 1 : at + 3])[0]
    print(name, kind, flush=True)
    question = query[12 : at + 5]
    found = next((addresses for suffix, addresses in rules if name.endswith(suffix)), None)
    data = []
    if found is not None and kind == 1:
        data = [socket.inet_aton(address) for address in found.split(",")]
    if found is not None and kind == 16:
        data = [bytes([len(text)]) + text]
    records = b"".join(b"\xc0\x0c" + struct.pack("!HHIH", kind, 1, 0, len(it)) + it for it in data)
    flags = 0x8183 if found is None else 0x8180
    return query[:2] + struct.pack("!HHHHH", flags, 1, len(data), 0, 0) + question + records


class Udp(socketserver.BaseRequestHandler):
    def handle(self):
        query, sock = self.request
        sock.sendto(answer(query), self.client_address)


class Tcp(socketserver.StreamRequestHandler):
    def handle(self):
        while length := self.rfile.read(2):
            reply = answer(self.rfile.read(struct.unpack("!H", length)[0]))
            self.wfile.write(struct.pack("!H", len(reply)) + reply)


class TcpServer(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


if __name__ == "__main__":
    tcp = TcpServer((listen, port), Tcp)
    threading.Thread(target=tcp.serve_forever, daemon=True).start()
    with socketserver.UDPServer((listen, port), Udp) as udp:
        udp.serve_forever()
