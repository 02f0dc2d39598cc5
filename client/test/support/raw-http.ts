/** HTTP as nobody's library writes it: bytes on a socket. */
import { connect } from "node:net";

/** Sends `bytes` and gives back all that comes, up to the end of the first answer's head or of the connection. */
export function exchange(port: number, bytes: string): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1", () => socket.write(bytes, "latin1"));
    let answer = "";
    socket.setEncoding("latin1").on("data", (text: string) => {
      answer += text;
      if (/^(HTTP\/1\.1 100 .*\r\n\r\n)?HTTP\/1\.1 (?!100)[^]*\r\n\r\n/.test(answer)) socket.destroy();
    });
    socket.on("error", () => {}).on("close", () => resolve(answer));
  });
}

/** Sends `bytes` and resets the connection once they are on their way. */
export function sendAndReset(port: number, bytes: string): Promise<void> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1", () => socket.write(bytes, "latin1", () => setTimeout(() => socket.resetAndDestroy(), 20)));
    socket.on("error", () => {}).on("close", () => resolve());
  });
}
