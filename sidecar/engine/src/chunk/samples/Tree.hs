{-# LANGUAGE GADTs #-}
-- | Balanced trees.
module Data.Tree.Balanced
  ( Tree(..)
  , insert
  ) where

import qualified Data.List as L

-- | A tree of values.
data Tree a
  = Leaf
  | Node { left :: Tree a, value :: a, right :: Tree a }
  deriving (Show, Eq)

newtype Size = Size { unSize :: Int }

type Path = [Bool]

-- | What has a size.
class Sized f where
  size :: f a -> Int
  size _ = 0
  isEmpty :: f a -> Bool

instance Sized Tree where
  size Leaf = 0
  size (Node l _ r) = size l + 1 + size r

-- | Puts a value into the tree, or leaves the tree
-- as it is.
insert :: Ord a => a -> Tree a -> Tree a
insert x Leaf = Node Leaf x Leaf
insert x tree@(Node l v r)
  | x < v = Node (insert x l) v r
  | x > v = Node l v (insert x r)
  | otherwise = tree
  where
    helper y = y

limit, bound :: Int
limit = 10
bound = 20

infixl 6 |>
(|>) :: Tree a -> a -> Tree a
t |> x = go t
  where go = id

type family Elem c
data family Vec a
deriving instance Show Size
pattern Empty = Leaf
main :: IO ()
main = do
  print (insert 1 Leaf)
