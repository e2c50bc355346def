// Which view the address asks for: `#/` is the fleet, `#/device/SITE/NODE` one device.

/** `{site, node}` of a device, or null for the fleet. */
export function route() {
  const [, kind, site, node] = location.hash.split("/");
  if (kind !== "device" || !site || !node) return null;
  try {
    return { site: decodeURIComponent(site), node: decodeURIComponent(node) };
  } catch {
    return null;
  }
}

export const deviceHref = ({ site, node }) =>
  `#/device/${encodeURIComponent(site)}/${encodeURIComponent(node)}`;
export const devicePath = ({ site, node }, range) =>
  `api/device?${new URLSearchParams({ site, node, range })}`;
