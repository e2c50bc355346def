// Elements. Whatever a device says becomes text: nothing here takes markup.

const SVG = "http://www.w3.org/2000/svg";

/** An element with attributes and children; strings are text. A function under `on...` listens. */
export function h(name, attributes = {}, ...children) {
  return fill(document.createElement(name), attributes, children);
}

/** The same, for SVG. */
export function svg(name, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, name), attributes, children);
}

/** Set the text of an element, if it is another one than before. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Only an attribute that changes is written: each one may cost a layout. */
export function put(element, name, value) {
  if (value === null || value === undefined || value === false) element.removeAttribute(name);
  else if (element.getAttribute(name) !== String(value))
    element.setAttribute(name, value === true ? "" : value);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else put(element, name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}
