// Keeps the end of a growing text in view: until the reader moves up, and again once the reader is at the very end.

const AT_END_PX = 2;
const UP = new Set(["ArrowUp", "PageUp", "Home"]);

/** Follows the end of a box that scrolls. Calls `changed(following)`. */
export class Follower {
  #box;
  #changed;
  #following = true;
  #top_px = 0;
  #finger_px = 0;

  constructor(box, changed) {
    this.#box = box;
    this.#changed = changed;
    box.addEventListener("scroll", () => this.#scrolled());
    box.addEventListener("wheel", ({ deltaY }) => deltaY < 0 && this.#letGo(), { passive: true });
    box.addEventListener("touchstart", ({ touches: [touch] }) => (this.#finger_px = touch.clientY), { passive: true });
    box.addEventListener("touchmove", ({ touches: [touch] }) => this.#dragged(touch.clientY), { passive: true });
    box.addEventListener("keydown", ({ key, target }) => {
      if (target.closest("input, select, textarea")) return;
      if (UP.has(key)) this.#letGo();
      else if (key === "End") this.follow();
    });
    new ResizeObserver(() => this.keep()).observe(box);
  }

  /** Move to the end, and stay there. */
  follow() {
    this.#set(true);
    this.keep();
  }

  /** Move to the end if the reader is there: call it when the text has grown. */
  keep() {
    if (!this.#following) return;
    this.#box.scrollTop = this.#box.scrollHeight;
    this.#top_px = this.#box.scrollTop;
  }

  /** The reader moves up, unless there is nothing above. */
  #letGo() {
    if (this.#box.scrollTop > 0) this.#set(false);
  }

  #dragged(finger_px) {
    if (finger_px > this.#finger_px) this.#letGo();
    this.#finger_px = finger_px;
  }

  #scrolled() {
    const { scrollTop, scrollHeight, clientHeight } = this.#box;
    const atEnd = scrollHeight - scrollTop - clientHeight <= AT_END_PX;
    if (atEnd && (scrollTop > this.#top_px || scrollTop === 0)) this.#set(true);
    else if (!atEnd && scrollTop < this.#top_px) this.#set(false);
    this.#top_px = scrollTop;
  }

  #set(following) {
    this.#following = following;
    this.#changed(following);
  }
}
