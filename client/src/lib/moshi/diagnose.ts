import { type Credential, fetchTicket } from "./credentials";
import { MoshiError } from "./failure";

/**
 * A browser learns nothing from a refused WebSocket handshake but code 1006. Plain HTTP requests can be read,
 * so this asks the server what may have been wrong: the credential, no free slot, or no server at all.
 */
export async function diagnose(server: URL, credential: Credential): Promise<MoshiError> {
  try {
    // By ticket and not by `auth-check`: with a POST browsers send the `Origin` that a cookie needs, with a GET they don't.
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

/** `modules_info` gives its numbers as strings. */
function everySlotTaken(modules: unknown, path: string): boolean {
  if (!Array.isArray(modules)) return false;
  const ours: unknown = modules.find((m: unknown) => typeof m === "object" && m !== null && "path" in m && m.path === path);
  if (typeof ours !== "object" || ours === null) return false;
  const { used_slots, total_slots } = ours as Record<string, unknown>;
  return Number(total_slots) > 0 && Number(used_slots) >= Number(total_slots);
}
