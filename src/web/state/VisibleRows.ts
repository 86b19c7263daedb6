import { useEffect, useRef, useState } from "preact/hooks"

/** Rows that are rendered above and below those in view. */
const overscan = 12

/** Every row has the height that the stylesheet sets. */
const rowHeight = () => Number.parseFloat(getComputedStyle(document.documentElement).getPropertyValue("--row-height"))

/**
 * The rows of a long table that are in view of the window: `first` to before `last`, and the heights in pixels of those before
 * and after them. `spacer` is the element that stands for those before.
 */
export const useVisibleRows = (count: number) => {
  const spacer = useRef<HTMLTableSectionElement>(null)
  const [range, setRange] = useState({ first: 0, last: 50, height: rowHeight() })

  useEffect(() => {
    const update = () => {
      if (spacer.current === null) return
      const height = rowHeight()
      const top = -spacer.current.getBoundingClientRect().top / height
      const first = Math.max(0, Math.floor(top) - overscan)
      const last = Math.max(0, Math.ceil(top + innerHeight / height)) + overscan
      setRange((range) =>
        range.first === first && range.last === last && range.height === height ? range : { first, last, height }
      )
    }
    update()
    addEventListener("scroll", update, { passive: true })
    addEventListener("resize", update)
    return () => {
      removeEventListener("scroll", update)
      removeEventListener("resize", update)
    }
  }, [])

  const last = Math.min(range.last, count)
  const first = Math.min(range.first, last)
  return {
    spacer,
    first,
    last,
    before: first * range.height,
    after: (count - last) * range.height,
    /** Scrolls no further than it takes to show a row. */
    scrollToRow: (index: number) => {
      if (spacer.current === null) return
      const top = spacer.current.getBoundingClientRect().top + index * range.height
      // The heading stays in view, above the rows.
      const over = top - 3 * range.height
      const under = top + 2 * range.height - innerHeight
      if (over < 0) scrollBy(0, over)
      else if (under > 0) scrollBy(0, under)
    }
  }
}
