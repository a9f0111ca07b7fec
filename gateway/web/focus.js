// Keeps the keyboard's focus on something visible.

/** Draw, and call `elsewhere()` if that has hidden, disabled or removed the focused element. */
export function drawWithFocus(draw, elsewhere) {
  const focused = document.activeElement;
  draw();
  if (focused === document.body || (focused.checkVisibility() && !focused.disabled)) return;
  elsewhere();
}
