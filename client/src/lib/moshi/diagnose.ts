import { type Credential, fetchTicket } from "./credentials";
import { MoshiError } from "./failure";

/**
 * Finds out why a WebSocket handshake failed, of which a browser tells only code 1006. Answers to plain HTTP requests can
 * be read, so this asks the server: is the credential refused, is every slot taken, is there a server at all?
 */
export async function diagnose(server: URL, credential: Credential): Promise<MoshiError> {
  try {
    // A ticket instead of `auth-check`: a cookie counts only with an `Origin`, which browsers send with a POST, not with a GET.
    const ticket = await fetchTicket(server, credential);
    const address = new URL("/api/modules_info", server);
    if (ticket !== null) address.searchParams.set("auth_id", ticket);
    const info = await fetch(address, { cache: "no-store", credentials: "omit" });
    if (info.ok && everySlotTaken(await info.json(), server.pathname)) {
      return new MoshiError("full", "every place on the server is taken");
    }
  } catch (error) {
    return error instanceof MoshiError ? error : new MoshiError("unreachable", "the server can't be reached");
  }
  return new MoshiError("unreachable", "the server answers, but the connection could not be opened");
}

/** Reads `modules_info`, whose numbers are strings. */
function everySlotTaken(modules: unknown, path: string): boolean {
  if (!Array.isArray(modules)) return false;
  const ours: unknown = modules.find((m: unknown) => typeof m === "object" && m !== null && "path" in m && m.path === path);
  if (typeof ours !== "object" || ours === null) return false;
  const { used_slots, total_slots } = ours as Record<string, unknown>;
  return Number(total_slots) > 0 && Number(used_slots) >= Number(total_slots);
}
