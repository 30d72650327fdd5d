package oci

// OwnBlobs has files of more than so many bytes be blobs of their own.
func (c *Closure) OwnBlobs(of int64) { c.own = of }
